import { Mutex, type OciSpec } from "tapvisor/plugin";
import type { Disk } from "../disk/disk.ts";
import { FileWork } from "../files/file-work.ts";
import type { GuestProcess, ProcessState } from "../process/guest-process.ts";
import type { Runtime } from "../runtime/crun.ts";
import { StatusError } from "../status.ts";
import type { HeldStorage } from "../storage/mount.ts";

/** Where one container's things are. */
export interface ContainerFiles {
  readonly directory: string;
  readonly rootfs: string;
  /** Counts for the container as long as it exists; holds no process itself. */
  readonly cgroup: string;
  /** Below it, made by the runtime and gone with the container's process: holds the processes and their limits. */
  readonly limits: string;
  readonly runtime: Runtime;
}

/** More ended processes than this are forgotten, the oldest first: their exit codes are kept for late waiters, not for ever. */
const MAX_PROCESSES = 1024;

/** A container in the guest: its processes and what it holds. It exists from the first step of its creation to the last of its removal. */
export class GuestContainer {
  readonly id: string;
  readonly files: ContainerFiles;
  readonly held: HeldStorage;
  /** What it has as device nodes: in use as long as it exists. */
  readonly disks: readonly Disk[];
  /** Creation, start, pause, changes and removal take turns. */
  readonly turns = new Mutex();
  /** What goes on with its files. */
  readonly fileWork = new FileWork();
  paused = false;
  /** The counters of its CPU limit when they were last looked at: the kernel keeps them with the limit, which goes with the process. */
  throttling: ReadonlyMap<string, string> = new Map();
  readonly #processes = new Map<string, GuestProcess>();
  #config: OciSpec | undefined;

  constructor(id: string, files: ContainerFiles, held: HeldStorage, disks: readonly Disk[]) {
    this.id = id;
    this.files = files;
    this.held = held;
    this.disks = disks;
  }

  /** The container's own process, which has the container's id; `undefined` until the container has been created. */
  get init(): GuestProcess | undefined {
    return this.#processes.get(this.id);
  }

  /** That of the container's own process, or `paused`; `undefined` until the container has been created. */
  get state(): ProcessState | "paused" | undefined {
    return this.paused && this.init?.state === "running" ? "paused" : this.init?.state;
  }

  /** @throws FAILED_PRECONDITION naming what cannot be done unless the container is in one of these states. */
  need(action: string, ...states: readonly (ProcessState | "paused")[]): void {
    const { state } = this;
    if (state !== undefined && states.includes(state)) return;
    throw new StatusError("FAILED_PRECONDITION", `Cannot ${action}: it is ${state ?? "not created"}, wanted ${states.join(" or ")}`);
  }

  /** What the container is made from. @throws FAILED_PRECONDITION when the container is not created yet. */
  get config(): OciSpec {
    if (this.#config) return this.#config;
    throw new StatusError("FAILED_PRECONDITION", `The container ${JSON.stringify(this.id)} is not created yet`);
  }

  set config(config: OciSpec) {
    this.#config = config;
  }

  created(init: GuestProcess): void {
    this.#processes.set(this.id, init);
  }

  get processes(): Iterable<GuestProcess> {
    return this.#processes.values();
  }

  /** @throws NOT_FOUND. */
  process(id: string): GuestProcess {
    const process = this.#processes.get(id);
    if (process) return process;
    throw new StatusError("NOT_FOUND", `There is no process ${JSON.stringify(id)} in the container ${JSON.stringify(this.id)}`);
  }

  /** @throws ALREADY_EXISTS; RESOURCE_EXHAUSTED when too many processes run. */
  addProcess(id: string, process: GuestProcess): void {
    if (this.#processes.has(id)) throw new StatusError("ALREADY_EXISTS", `There is a process ${JSON.stringify(id)} already`);
    if (this.#processes.size >= MAX_PROCESSES) this.#forgetOne();
    this.#processes.set(id, process);
  }

  dropProcess(id: string): void {
    this.#processes.get(id)?.discard();
    this.#processes.delete(id);
  }

  #forgetOne(): void {
    for (const [id, process] of this.#processes) {
      if (id === this.id || process.state !== "ended") continue;
      this.dropProcess(id);
      return;
    }
    throw new StatusError(
      "RESOURCE_EXHAUSTED",
      `The container ${JSON.stringify(this.id)} has ${this.#processes.size} processes, the most there may be`,
    );
  }
}
