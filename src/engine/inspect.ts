import type { LeftHolding } from "../base/errors.ts";
import { isAlive } from "../base/process-identity.ts";
import type { DeviceConfig, MountConfig } from "../config/mounts-config.ts";
import type { ResourceConfig } from "../config/resources-config.ts";
import type { Holding } from "../contracts/holding.ts";
import type { RootfsSource } from "../contracts/rootfs.ts";
import type { SlotName } from "../contracts/slots.ts";
import type { DeviceRecord } from "../device/manager.ts";
import { ledgerOf, type SandboxResources } from "../resource/ledger.ts";
import { openJournal } from "../sandbox/open.ts";
import { findVm } from "../sandbox/vm-grant.ts";
import type { EngineContext } from "./context.ts";
import type { ContainerRecord, Origin, SandboxRecord } from "./record.ts";
import type { State } from "./states.ts";

/** What the record of a sandbox says, and which of its processes live. No environment variable of a container or hook is in it. */
export interface SandboxInspection {
  readonly id: string;
  /** As recorded: a VM that has died since shows in `vm.alive`. */
  readonly state: State;
  readonly created: string;
  readonly detached: boolean;
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly hostname: string;
  /** The process that took it last; absent when a detached one has been let go. */
  readonly owner?: { readonly pid: number; readonly alive: boolean };
  /** Absent when it holds none. */
  readonly vm?: VmInspection;
  /** How its VM came to be; absent when it has none. */
  readonly origin?: Origin;
  /** Which provider fills each slot. */
  readonly providers: Readonly<Record<SlotName, string>>;
  readonly containers: readonly ContainerInspection[];
  /** The ledger of vCPUs and memory, as recorded last. */
  readonly resources: SandboxResources;
  /** The disks of its VM. */
  readonly disks: readonly DeviceRecord[];
  /** Everything it holds, in the order of acquisition: it is released in reverse. */
  readonly holdings: readonly HoldingInspection[];
  /** What could not be released, and why: `delete` and `gc` try it again. */
  readonly left: readonly LeftHolding[];
  readonly annotations: Readonly<Record<string, string>>;
}

export interface VmInspection {
  /** Absent when the hypervisor runs no process for it. */
  readonly pid?: number;
  /** Whether this very process runs; absent without one. */
  readonly alive?: boolean;
  readonly accelerator: string;
  readonly runDirectory: string;
}

export interface ContainerInspection {
  readonly id: string;
  readonly state: State;
  readonly created: string;
  readonly exitCode?: number;
  readonly command: readonly string[];
  readonly rootfs: RootfsSource;
  readonly mounts: readonly MountConfig[];
  readonly devices: readonly DeviceConfig[];
  readonly resources: ResourceConfig;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface HoldingInspection {
  readonly step: string;
  readonly owner: string;
  readonly kind: string;
  readonly container?: string;
  /** `pending` when it may not have been acquired, `failed` when it could not be released. */
  readonly status: Holding["status"];
}

/** Reads the record of a sandbox without attaching to it. @throws NOT_FOUND, STATE_CORRUPT. */
export async function inspectSandbox(engine: EngineContext, id: string): Promise<SandboxInspection> {
  const { record } = await openJournal(engine, id);
  const { owner, config, holdings } = record;
  const vm = await inspectVm(record);
  return {
    id,
    state: record.state,
    created: record.created,
    detached: config.detached,
    vcpus: config.vcpus,
    memoryBytes: config.memoryBytes,
    hostname: config.hostname,
    ...(owner ? { owner: { pid: owner.pid, alive: await isAlive(owner) } } : {}),
    ...(vm ? { vm } : {}),
    ...(vm && record.origin ? { origin: record.origin } : {}),
    providers: record.providers,
    containers: Object.values(record.containers).map(inspectContainer),
    resources: ledgerOf(record),
    disks: Object.values(record.devices),
    holdings: holdings.map(({ step, owner: by, kind, container, status }) => ({
      step,
      owner: by,
      kind,
      ...(container === undefined ? {} : { container }),
      status,
    })),
    left: holdings
      .filter(({ status }) => status === "failed")
      .map(({ step, owner: by, kind, reason }) => ({ step, owner: by, kind, reason: reason ?? "" })),
    annotations: record.annotations,
  };
}

async function inspectVm(record: SandboxRecord): Promise<VmInspection | undefined> {
  const grant = findVm(record)?.grant;
  if (!grant) return undefined;
  const { process, accelerator, runDirectory } = grant;
  return { ...(process ? { pid: process.pid, alive: await isAlive(process) } : {}), accelerator, runDirectory };
}

function inspectContainer({ id, state, created, exitCode, config, annotations }: ContainerRecord): ContainerInspection {
  const { command, rootfs, mounts, devices, resources } = config;
  const ended = exitCode === undefined ? {} : { exitCode };
  return { id, state, created, ...ended, command, rootfs: rootfs.source, mounts, devices, resources, annotations };
}
