import type { ProcessIdentity } from "../base/process-identity.ts";
import type { ContainerConfig } from "../config/container-config.ts";
import type { SandboxConfig } from "../config/sandbox-config.ts";
import type { Holding } from "../contracts/holding.ts";
import type { SlotName } from "../contracts/slots.ts";
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
  nextHolding: number;
  containers: Record<string, ContainerRecord>;
}

export interface ContainerRecord {
  readonly id: string;
  readonly created: string;
  readonly config: ContainerConfig;
  state: State;
  annotations: Record<string, string>;
  /** Set when the container's process has ended. */
  exitCode?: number;
}
