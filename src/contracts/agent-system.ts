import type { Call } from "./holding.ts";

/** The guest as a machine: is it well, its clock, its random numbers, its files, its memory running out. */
export interface AgentSystem {
  /** Resolves when the agent says that it serves, for a monitor. @throws AGENT_FAILED when it says otherwise. */
  check(call: Call): Promise<void>;
  /**
   * Mixes 1 to 65 536 bytes into the guest's random number generator. In a guest of ours the kernel takes them up the next time it seeds itself anew,
   * within a minute, and counts no entropy for them; a Kata agent has it do so at once.
   */
  reseedRandom(data: Uint8Array, call: Call): Promise<void>;
  /** Sets the guest's clock to that many ms since 1970. A guest of ours takes up to a second, so that the fraction is right, too. */
  setTime(unixMs: number, call: Call): Promise<void>;
  /**
   * Resolves with the id of a container in which the kernel has killed a process because memory ran out; waits for that, without a deadline of its own.
   * Each event is given to one caller, also one that happened while nobody asked; several kills in one container may be one event.
   * @throws AGENT_FAILED FAILED_PRECONDITION without a sandbox, NOT_FOUND when the sandbox is destroyed meanwhile.
   */
  nextOom(call: Call): Promise<string>;
  /**
   * Tells a kernel that does not see for itself where memory was plugged in, by the blocks' addresses.
   * @throws AGENT_FAILED FAILED_PRECONDITION for one that does, as on x86.
   */
  probeMemory(addresses: readonly number[], call: Call): Promise<void>;
  /** @throws AGENT_FAILED FAILED_PRECONDITION when the agent cannot trace, or does already. */
  startTracing(call: Call): Promise<void>;
  /** @throws AGENT_FAILED FAILED_PRECONDITION when the agent does not trace. */
  stopTracing(call: Call): Promise<void>;
  /**
   * Writes a file in the guest, in parts; it appears under its name, in place of what was there, when its last byte has come. `content` must be `bytes`
   * long altogether. A copy that fails leaves the file as it was; what had come of it goes with the next copy to that path, or with the sandbox.
   * @throws INVALID_INPUT when `content` is longer or shorter; AGENT_FAILED INVALID_ARGUMENT for a path outside of the agent's open directories,
   * FAILED_PRECONDITION when a link is on the way.
   */
  copyFile(file: GuestFile, content: Iterable<Uint8Array> | AsyncIterable<Uint8Array>, call: Call): Promise<void>;
}

/** A file to be written in the guest. */
export interface GuestFile {
  /** Absolute, below `/run/kata-containers` or, in a guest of ours, `/run/tapvisor`. */
  readonly path: string;
  readonly bytes: number;
  /** Permission bits. */
  readonly mode: number;
  /** Permission bits of the directories on the way that do not exist yet. */
  readonly directoryMode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A module of the guest's kernel. */
export interface KernelModule {
  readonly name: string;
  /** `name=value`; none when absent. */
  readonly parameters?: readonly string[];
}

/** What `createSandbox` asks for. */
export interface GuestSandboxOptions {
  /** Lines of the guest's resolv.conf: `nameserver 10.0.2.3`. None when absent. */
  readonly dns?: readonly string[];
  /** A directory of the guest whose `prestart`, `poststart` and `poststop` directories hold hooks for each container. */
  readonly guestHookPath?: string;
  /** Loaded before anything else. One that is loaded already stays as it is. */
  readonly kernelModules?: readonly KernelModule[];
}
