import type { ProcessIdentity } from "../base/process-identity.ts";
import type { Bytes } from "../base/units.ts";
import type { ContainerConfig } from "../config/container-config.ts";
import type { SandboxConfig } from "../config/sandbox-config.ts";
import type { GuestDetails, GuestResources } from "../contracts/agent.ts";
import type { Holding } from "../contracts/holding.ts";
import type { SlotName } from "../contracts/slots.ts";
import type { DeviceRecord } from "../device/manager.ts";
import type { State } from "./states.ts";

/** The layout of a sandbox's record; a store that holds a newer one is refused. */
export const RECORD_VERSION = 1;

/** Everything the engine knows of a sandbox, as the state store keeps it: a later process can release or adopt it from this alone. */
export interface SandboxRecord {
  readonly version: typeof RECORD_VERSION;
  readonly id: string;
  readonly created: string;
  /** The process that has it in its hands; `null` when a detached one has been let go. */
  owner: ProcessIdentity | null;
  readonly config: SandboxConfig;
  /** Which provider fills each slot. */
  readonly providers: Readonly<Record<SlotName, string>>;
  state: State;
  annotations: Record<string, string>;
  holdings: Holding[];
  /** The block devices and images of the host that are plugged in, by id. */
  devices: Record<string, DeviceRecord>;
  /** The guest's unit of memory hot-plug, bytes; 0 when it has none. Known from its boot on. */
  memoryBlockBytes?: number;
  /** What its guest can do; known from its boot on. */
  guest?: Pick<GuestDetails, "supportsSeccomp" | "ociExtensions">;
  /** What the VM had when it was last changed; absent as long as it has what it booted with. */
  granted?: GrantedSize;
  /** How its VM came to be; known from its start on. */
  origin?: Origin;
  nextHolding: number;
  containers: Record<string, ContainerRecord>;
}

/** How a VM came to be: it went on from a template or from another sandbox, or it booted, and why. */
export type Origin =
  | {
      readonly from: "template";
      /** The template's key. */
      readonly template: string;
      /** `shared`: copy-on-write in the template's; `own`: a copy of it. */
      readonly memory: "shared" | "own";
      /** How far the guest's clock could be from the host's when it went on, ms. */
      readonly clockErrorMs?: number;
    }
  /** It went on from a saved VM: that of this sandbox. */
  | { readonly from: "snapshot"; readonly of: string; readonly clockErrorMs?: number }
  | { readonly from: "boot"; readonly why: string };

/** What a VM really has, which need not be what was asked for. */
export interface GrantedSize {
  /** The vCPUs the guest runs on. */
  readonly vcpus: number;
  /** Those plugged in, the ones that the guest has parked included. */
  readonly pluggedVcpus: number;
  readonly memoryBytes: Bytes;
  /** What the guest itself said last; absent for a guest that cannot say. */
  readonly confirmed?: GuestResources;
}

export interface ContainerRecord {
  readonly id: string;
  readonly created: string;
  config: ContainerConfig;
  state: State;
  annotations: Record<string, string>;
  /** Set when the container's process has ended. */
  exitCode?: number;
  /** The kernel's out-of-memory killer has struck in it. */
  oomKilled?: boolean;
}
