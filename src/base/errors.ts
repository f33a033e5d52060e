/**
 * Every code an error of this project can carry, with the shape of its `data`. Match on `error.code`, never on the text.
 */
export interface ErrorData {
  /** A value given by the caller or a configuration file is not usable. `path` names the field. */
  INVALID_INPUT: { path: string; value?: unknown; wanted: string };
  /** A configuration file cannot be read as JSON5, or has a bad field. Lines and columns count from 1. */
  INVALID_CONFIG: { file: string; path?: string; line?: number; column?: number };
  /** An id that is taken. */
  ALREADY_EXISTS: { kind: "sandbox" | "container"; id: string };
  NOT_FOUND: { kind: string; id: string; known?: readonly string[] };
  /** The verb is not possible in the present state. */
  INVALID_STATE: { kind: "sandbox" | "container" | "engine"; id: string; state: string; verb: string; allowed: readonly string[] };
  /** The backend cannot do this at all: never reported as "not found". */
  UNSUPPORTED: { what: string; by?: string };
  /** A wait passed its deadline. */
  TIMEOUT: { what: string; timeoutMs: number };
  /** The caller's AbortSignal fired. */
  ABORTED: { what: string };
  /** A plugin is malformed, provides nothing where something is needed, or threw or hung while loading. */
  PLUGIN_FAILED: { plugin: string; hook?: string; slot?: string };
  /** A hook's tap threw, hung, or vetoed. */
  HOOK_FAILED: { plugin: string; hook: string; timedOut: boolean };
  /** An OCI hook, a program of the host, could not be run, ended otherwise than with 0, or did not end. Of its output the last 64 KiB. */
  OCI_HOOK_FAILED: {
    container: string;
    phase: string;
    path: string;
    exitCode: number | null;
    timedOut: boolean;
    stdout: string;
    stderr: string;
  };
  /** A program or file that the host must have is missing or too old. */
  HOST_MISSING: { what: string; found?: string; wanted?: string };
  /** The host has not enough of something. */
  HOST_LIMIT: { what: string; wanted: number; available: number };
  /** A VM cannot grow that far: what it booted with and its limit are in the text. `wanted` and `available` are totals, in vCPUs or bytes. */
  VM_LIMIT: { what: "vcpus" | "memory" | "devices"; wanted: number; available: number };
  /** The sandbox has no such device. */
  DEVICE_NOT_FOUND: { id: string; known: readonly string[] };
  /** A device is to be detached that is not attached. */
  DEVICE_NOT_ATTACHED: { id: string };
  /** A device is to be removed that is still attached, by the holders named. */
  DEVICE_ATTACHED: { id: string; holders: readonly string[] };
  /** No free id for a device was found. */
  DEVICE_IDS_EXHAUSTED: { tries: number };
  /** The guest still uses a device: it stays attached. */
  DEVICE_IN_USE: { id: string; reason: string };
  /** A file of a template is not as it was saved: the template is not used. */
  TEMPLATE_DAMAGED: { template: string; file: string; reason: string };
  /** A snapshot's file is not as it was saved, or something is not as where it was taken: `differs` says what was and what is. */
  SNAPSHOT_UNUSABLE: { snapshot: string; reason: string; differs?: { readonly was: unknown; readonly is: unknown } };
  /** A volume is to be removed that sandboxes still use. */
  VOLUME_IN_USE: { id: string; sandboxes: readonly string[] };
  /** The hypervisor's process could not be started or ended early. `console` and `stderr` hold the last lines. */
  VM_FAILED: { id: string; exitCode?: number | null; signal?: string | null; stderr?: string; console?: string };
  /** The hypervisor's control channel answered with an error; `class` is the protocol's own word. */
  VM_COMMAND_FAILED: { command: string; class: string };
  /** The guest did not boot far enough to answer in time, or its kernel panicked. `console` holds the last lines. */
  GUEST_BOOT_FAILED: { id: string; panic?: string; console?: string };
  /** The connection to the guest's agent is lost. */
  AGENT_LOST: { id?: string; console?: string };
  /** The guest's agent answered with an error; `status` is the gRPC status name. */
  AGENT_FAILED: { method: string; status: string };
  /** The guest sent something that breaks the protocol or a limit. */
  GUEST_PROTOCOL: { what: string };
  /** The command does not exist in the container (exit code 127). */
  COMMAND_NOT_FOUND: { command: string; exitCode: 127 };
  /** The command exists and cannot be executed (exit code 126). */
  COMMAND_NOT_EXECUTABLE: { command: string; exitCode: 126 };
  /** A file of a container cannot be used; `errno` is the system's word, `EISDIR` say. One that is not there is NOT_FOUND of kind `file`. */
  FILE_FAILED: { path: string; errno: string };
  /** A record in the state store cannot be read; `id` says which one where a file holds several. */
  STATE_CORRUPT: { file: string; id?: string };
  /** The disk or directory of the state store refused. The record is the old or the new one; `errno` is the system's word, `ENOSPC` say. */
  STATE_IO: { file: string; operation: string; errno: string };
  /** Another process holds the lock of this sandbox. */
  LOCKED: { id: string; holder?: number };
  /** A delete that could not release everything: `left` names what is still there. `gc` retries it. */
  RELEASE_INCOMPLETE: { id: string; left: readonly LeftHolding[] };
  /** A defect in this project or a plugin. */
  INTERNAL: { detail?: string };
}

export type ErrorCode = keyof ErrorData;

/** A holding that could not be released: what it is, who owns it, why it is still there. */
export interface LeftHolding {
  readonly step: string;
  readonly owner: string;
  readonly kind: string;
  readonly reason: string;
}

/** What a rollback did: the steps undone in order, and what is left. */
export interface Rollback {
  readonly undone: readonly string[];
  readonly left: readonly LeftHolding[];
}

export interface ErrorOptions<C extends ErrorCode> {
  readonly data: ErrorData[C];
  readonly cause?: unknown;
  /** What the reader can do about it, one sentence. */
  readonly hint?: string;
}

const MARK = Symbol.for("tapvisor.error");

/** A union over the codes, so that testing `error.code` narrows `error.data`. */
export type AnyTapvisorError = { [C in ErrorCode]: TapvisorError<C> }[ErrorCode];

/**
 * The one error class of this project.
 *
 * @example
 * try { await engine.createSandbox({ memory: "512" }) } catch (error) {
 *   if (isTapvisorError(error) && error.code === "INVALID_INPUT") console.error(error.data.path, error.hint);
 * }
 */
export class TapvisorError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name = "TapvisorError";
  readonly code: C;
  readonly data: ErrorData[C];
  readonly hint: string | undefined;
  /** Present when an operation failed and was rolled back. */
  rollback: Rollback | undefined;

  constructor(code: C, message: string, options: ErrorOptions<C>) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.data = options.data;
    this.hint = options.hint;
    Object.defineProperty(this, MARK, { value: true });
  }
}

/** Whether a value is an error of this project, also when two copies of the package are loaded. */
export function isTapvisorError(value: unknown): value is AnyTapvisorError {
  return typeof value === "object" && value !== null && MARK in value;
}

/** Whether the agent has answered a request with this gRPC status, `NOT_FOUND` say. */
export function isAgentStatus(value: unknown, status: string): value is TapvisorError<"AGENT_FAILED"> {
  return isTapvisorError(value) && value.code === "AGENT_FAILED" && value.data.status === status;
}

/** The message of anything thrown, `null` and strings included. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Anything thrown as an Error, so that it can be a `cause`. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** The system's word for a failure, `ENOSPC` say; empty when it has none. */
export function errnoOf(thrown: unknown): string {
  const code = (thrown as { readonly code?: unknown } | null | undefined)?.code;
  return typeof code === "string" ? code : "";
}
