import type { Bytes } from "../base/units.ts";

/** What is plugged: the shape of the request depends on the kind. */
export interface HotplugRequests {
  vcpu: { readonly count: number };
  memory: { readonly bytes: Bytes };
  block: { readonly path: string; readonly readonly: boolean };
  share: {
    readonly id: string;
    readonly entries: readonly { readonly name: string; readonly source: string; readonly readonly: boolean }[];
  };
  nic: { readonly id: string };
}

export type HotplugKind = keyof HotplugRequests;

/** A tap narrows on `kind` to get the request's shape. */
export type HotplugEvent = {
  [K in HotplugKind]: {
    readonly sandbox: string;
    readonly container?: string;
    readonly kind: K;
    readonly action: "plug" | "unplug";
    readonly request: HotplugRequests[K];
  };
}[HotplugKind];

/** Registers a release that runs when the operation fails, or when what was attached is detached in this process. */
export type Defer = (name: string, release: () => Promise<void>) => void;

export interface AfterAttachEvent {
  readonly sandbox: string;
  readonly container?: string;
  readonly device: { readonly kind: HotplugKind; readonly id: string };
  readonly defer: Defer;
}

export interface RollbackEvent {
  readonly operation: string;
  readonly sandbox: string;
  readonly container?: string;
  readonly step: string;
  /** Why the operation failed. */
  readonly cause: Error;
  readonly outcome: "released" | "failed";
  /** Why the release failed. */
  readonly failure?: Error;
}

export interface CreateEvent {
  readonly sandbox: string;
  readonly container?: string;
  /** The validated configuration of what is created. */
  readonly config: Readonly<Record<string, unknown>>;
}

export interface ContainerOrSandboxEvent {
  readonly sandbox: string;
  readonly container?: string;
}

export interface StopEvent extends ContainerOrSandboxEvent {
  readonly force: boolean;
}

export interface UpdateEvent extends ContainerOrSandboxEvent {
  readonly request: { readonly vcpus?: number; readonly memoryBytes?: Bytes };
}

export interface ExecEvent extends ContainerOrSandboxEvent {
  readonly container: string;
  readonly argv: readonly string[];
}

export interface StateChangeEvent extends ContainerOrSandboxEvent {
  readonly from: string;
  readonly to: string;
}

export interface AgentLostEvent {
  readonly sandbox: string;
  readonly error: Error;
}

export interface VmExitedEvent {
  readonly sandbox: string;
  readonly exitCode: number | null;
  readonly signal: string | null;
}
