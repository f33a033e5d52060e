import { constants } from "node:os";
import type { GuestContainer } from "../../contracts/agent.ts";
import type { OciProcess, OciResources } from "../../contracts/oci.ts";
import type { ContainerStats } from "../../contracts/stats.ts";
import { FakeFiles } from "./files/files.ts";
import { FakeProcess } from "./process.ts";

/** How much CPU time a process of the fake world has used each time one looks, microseconds. */
const TICK_US = 1_000;

const KILLED = 128 + constants.signals.SIGKILL;

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

  constructor(request: GuestContainer) {
    this.request = request;
    this.process = new FakeProcess(request.spec.process, 1);
    this.files = new FakeFiles(request.spec, () => this.process.state === "running");
    void this.process.exited.then(() => {
      this.endExecs();
      this.files.endWatches();
    });
    this.limits = request.spec.linux.resources ?? {};
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
