import type { Empty } from "./types.ts";

/** The messages of the calls about the guest as a machine, decoded as those in types.ts. */
export interface KernelModuleMessage {
  readonly name: string;
  readonly parameters: readonly string[];
}

export interface ReseedRandomDevRequest {
  readonly data: Uint8Array;
}

export interface MemHotplugByProbeRequest {
  readonly memHotplugProbeAddr: readonly string[];
}

export interface SetGuestDateTimeRequest {
  readonly Sec: string;
  readonly Usec: string;
}

export interface CopyFileRequest {
  readonly path: string;
  /** Of the whole file, bytes. */
  readonly file_size: string;
  /** Permission bits; Kata's client sends the type in them, too. */
  readonly file_mode: number;
  readonly dir_mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Where `data` belongs, bytes. */
  readonly offset: string;
  readonly data: Uint8Array;
}

export interface OomEventMessage {
  readonly container_id: string;
}

export interface SystemCalls {
  ReseedRandomDev: [ReseedRandomDevRequest, Empty];
  MemHotplugByProbe: [MemHotplugByProbeRequest, Empty];
  SetGuestDateTime: [SetGuestDateTimeRequest, Empty];
  CopyFile: [CopyFileRequest, Empty];
  GetOOMEvent: [Empty, OomEventMessage];
  StartTracing: [Empty, Empty];
  StopTracing: [Empty, Empty];
}
