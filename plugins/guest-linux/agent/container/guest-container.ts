import { Mutex, type OciProcess } from "tapvisor/plugin";
import type { GuestProcess } from "../process/guest-process.ts";
import type { Runtime } from "../runtime/crun.ts";
import { StatusError } from "../status.ts";
import type { HeldStorage } from "../storage/mount.ts";

/** Where one container's things are. */
export interface ContainerFiles {
  readonly directory: string;
  readonly rootfs: string;
  readonly cgroup: string;
  readonly runtime: Runtime;
}

/** More ended processes than this are forgotten, the oldest first: their exit codes are kept for late waiters, not for ever. */
const MAX_PROCESSES = 1024;

/** A container in the guest: its processes and what it holds. It exists from the first step of its creation to the last of its removal. */
export class GuestContainer {
  readonly id: string;
  readonly files: ContainerFiles;
  readonly held: HeldStorage;
  /** Creation, start and removal take turns. */
  readonly turns = new Mutex();
  readonly #processes = new Map<string, GuestProcess>();
  #command: OciProcess | undefined;

  constructor(id: string, files: ContainerFiles, held: HeldStorage) {
    this.id = id;
    this.files = files;
    this.held = held;
  }

  /** The container's own process, which has the container's id; `undefined` until the container has been created. */
  get init(): GuestProcess | undefined {
    return this.#processes.get(this.id);
  }

  /** What the container's own process is to run. @throws FAILED_PRECONDITION when the container is not created yet. */
  get command(): OciProcess {
    if (this.#command) return this.#command;
    throw new StatusError("FAILED_PRECONDITION", `The container ${JSON.stringify(this.id)} is not created yet`);
  }

  created(command: OciProcess, init: GuestProcess): void {
    this.#command = command;
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
