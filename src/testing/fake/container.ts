import { constants } from "node:os";
import type { GuestContainer } from "../../contracts/agent.ts";
import type { OciProcess, OciResources } from "../../contracts/oci.ts";
import type { ContainerStats } from "../../contracts/stats.ts";
import { FakeFiles } from "./files/files.ts";
import type { FakeDirectory } from "./files/tree.ts";
import { FakeProcess, type SavedProcess } from "./process.ts";

/** How much CPU time a process of the fake world has used each time one looks, microseconds. */
const TICK_US = 1_000;

const KILLED = 128 + constants.signals.SIGKILL;

/** A container as it was when its VM was saved. */
export interface SavedContainer {
  readonly request: GuestContainer;
  readonly process: SavedProcess;
  readonly execs: readonly (readonly [id: string, process: SavedProcess])[];
  readonly files: FakeDirectory;
  readonly limits: OciResources;
  readonly usedUs: number;
  readonly oomKills: number;
  readonly stats: Partial<ContainerStats>;
  readonly lastPid: number;
}

/** A container in a guest of the fake world. */
export class FakeContainer {
  readonly request: GuestContainer;
  /** The container's own process. */
  readonly process: FakeProcess;
  readonly files: FakeFiles;
  /** The other processes that were started in it, also those that have ended. */
  readonly execs = new Map<string, FakeProcess>();
  /** Those of its specification, and what updates have made of them. */
  limits: OciResources;
  /** The CPU time used so far. */
  usedUs = 0;
  oomKills = 0;
  /** What the test wants to be told in place of what this world makes up. */
  stats: Partial<ContainerStats> = {};

  #lastPid = 1;

  /** With `saved`, what another was; those of its processes that ran are to be started again. */
  constructor(request: GuestContainer, saved?: SavedContainer) {
    this.request = request;
    this.process = new FakeProcess(request.spec.process, 1, saved?.process);
    this.files = new FakeFiles(request.spec, () => this.process.state === "running", saved?.files);
    void this.process.exited.then(() => {
      this.endExecs();
      this.files.endWatches();
    });
    this.limits = saved?.limits ?? request.spec.linux.resources ?? {};
    if (!saved) return;
    const { execs, usedUs, oomKills, stats, lastPid } = saved;
    Object.assign(this, { usedUs, oomKills, stats });
    this.#lastPid = lastPid;
    for (const [id, exec] of execs) this.execs.set(id, new FakeProcess(exec.spec, exec.pid, exec));
  }

  save(): SavedContainer {
    const { request, limits, usedUs, oomKills, stats } = this;
    const execs = [...this.execs].map(([id, exec]) => [id, exec.save()] as const);
    const files = this.files.save();
    return { request, process: this.process.save(), execs, files, limits, usedUs, oomKills, stats, lastPid: this.#lastPid };
  }

  /** Its own process and the others. */
  get processes(): readonly FakeProcess[] {
    return [this.process, ...this.execs.values()];
  }

  get running(): readonly FakeProcess[] {
    return this.processes.filter(({ state }) => state === "running");
  }

  /** A process that is about to be started in it. */
  addExec(id: string, spec: OciProcess): FakeProcess {
    const process = new FakeProcess(spec, ++this.#lastPid);
    this.execs.set(id, process);
    return process;
  }

  /** The container's own process has ended: the kernel kills those beside it. */
  endExecs(): void {
    for (const process of this.execs.values()) process.end(KILLED);
  }

  /** Time goes on between two looks at a process that runs. */
  tick(): void {
    if (this.process.state === "running" && !this.process.paused) this.usedUs += TICK_US;
  }

  /** What the kernel's out-of-memory killer does. */
  oomKill(): void {
    if (this.process.state !== "running") return;
    this.oomKills += 1;
    this.process.end(KILLED);
    this.endExecs();
  }
}
