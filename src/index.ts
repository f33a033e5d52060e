/** All that a script imports. */

export type { AnyTapvisorError, ErrorCode, ErrorData, LeftHolding, Rollback } from "./base/errors.ts";
export { isTapvisorError, TapvisorError } from "./base/errors.ts";
export type { Logger } from "./base/log.ts";
export { formatBytes, parseBytes } from "./base/units.ts";
export type { ContainerOptions, OciHookOptions, OciHooksOptions } from "./config/container-config.ts";
export type { DeviceOptions } from "./config/device-config.ts";
export type { EngineConfig } from "./config/engine-config.ts";
export type { BindMount, BlockMount, ContainerDevice, ContainerMount, TmpfsMount, VolumeMount } from "./config/mounts-config.ts";
export type { ResourceConfig, ResourceOptions, UpdateOptions } from "./config/resources-config.ts";
export type { SandboxOptions } from "./config/sandbox-config.ts";
export type { Cancellable, Container, ContainerStatus } from "./container/container.ts";
export type { ProcessEnd } from "./container/guest-process.ts";
export type { InputStream } from "./container/input-stream.ts";
export type { OutputStream } from "./container/output-stream.ts";
export type { TimedStats } from "./container/stats.ts";
export type * from "./contracts/stats.ts";
export type { Device } from "./device/sandbox-devices.ts";
export type { CollectReport } from "./engine/collect.ts";
export { createEngine, type EngineOptions } from "./engine/create-engine.ts";
export { definePlugin, definePreset, type Plugin, type PluginContext, type Preset } from "./engine/define-plugin.ts";
export type { Engine } from "./engine/engine.ts";
export type { ContainerInspection, HoldingInspection, SandboxInspection, VmInspection } from "./engine/inspect.ts";
export type { SandboxSummary } from "./engine/list.ts";
export type { StepEvent, StepProbe } from "./engine/probe.ts";
export type { SandboxResources } from "./resource/ledger.ts";
export type { Sandbox, SandboxStatus } from "./sandbox/sandbox.ts";
export type { StopOptions } from "./sandbox/stop.ts";
