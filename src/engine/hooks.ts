import { AsyncSeriesHook, AsyncSeriesWaterfallHook } from "tapable";
import type {
  AfterAttachEvent,
  AgentLostEvent,
  ContainerOrSandboxEvent,
  CreateEvent,
  ExecEvent,
  HotplugEvent,
  RollbackEvent,
  StateChangeEvent,
  StopEvent,
  UpdateEvent,
  VmExitedEvent,
} from "./hook-events.ts";

/**
 * Every hook of the engine, in one frozen table. `before…` taps are a waterfall: they may return an amended event, and a throw vetoes.
 * `after…` taps run in series: a throw fails the operation, which rolls back. `onRollback`, `stateChange`, `agentLost` and `vmExited`
 * report facts: what a tap throws is logged and changes nothing.
 */
export function createHooks() {
  return Object.freeze({
    /** A vCPU, memory, block device, share or NIC is about to be plugged or unplugged. */
    beforeHotplug: new AsyncSeriesWaterfallHook<[HotplugEvent]>(["event"], "beforeHotplug"),
    /** A device has been attached; `event.defer` registers a release of the tap's own. */
    afterAttach: new AsyncSeriesHook<[AfterAttachEvent]>(["event"], "afterAttach"),
    /** A step has been released since its operation failed. */
    onRollback: new AsyncSeriesHook<[RollbackEvent]>(["event"], "onRollback"),
    /** A sandbox or container is about to be created; `event.config` may be amended. */
    beforeCreate: new AsyncSeriesWaterfallHook<[CreateEvent]>(["event"], "beforeCreate"),
    afterCreate: new AsyncSeriesHook<[ContainerOrSandboxEvent]>(["event"], "afterCreate"),
    beforeStart: new AsyncSeriesWaterfallHook<[ContainerOrSandboxEvent]>(["event"], "beforeStart"),
    afterStart: new AsyncSeriesHook<[ContainerOrSandboxEvent]>(["event"], "afterStart"),
    beforeStop: new AsyncSeriesWaterfallHook<[StopEvent]>(["event"], "beforeStop"),
    afterStop: new AsyncSeriesHook<[StopEvent]>(["event"], "afterStop"),
    /** A container's resources are about to change. */
    beforeUpdate: new AsyncSeriesWaterfallHook<[UpdateEvent]>(["event"], "beforeUpdate"),
    afterUpdate: new AsyncSeriesHook<[UpdateEvent]>(["event"], "afterUpdate"),
    beforeDelete: new AsyncSeriesWaterfallHook<[ContainerOrSandboxEvent]>(["event"], "beforeDelete"),
    afterDelete: new AsyncSeriesHook<[ContainerOrSandboxEvent]>(["event"], "afterDelete"),
    /** A further process is about to run in a container. */
    beforeExec: new AsyncSeriesWaterfallHook<[ExecEvent]>(["event"], "beforeExec"),
    stateChange: new AsyncSeriesHook<[StateChangeEvent]>(["event"], "stateChange"),
    agentLost: new AsyncSeriesHook<[AgentLostEvent]>(["event"], "agentLost"),
    vmExited: new AsyncSeriesHook<[VmExitedEvent]>(["event"], "vmExited"),
  });
}

export type EngineHooks = ReturnType<typeof createHooks>;
export type HookName = keyof EngineHooks;
/** The event a hook carries. */
export type HookEvent<K extends HookName> = EngineHooks[K] extends { promise(event: infer E): Promise<unknown> } ? E : never;

/** The hooks whose taps' errors are logged and change nothing. */
export const OBSERVING_HOOKS: ReadonlySet<HookName> = new Set(["onRollback", "stateChange", "agentLost", "vmExited"]);
