import { join } from "node:path";
import { Mutex } from "tapvisor/plugin";
import type { GuestContainer } from "./container/guest-container.ts";
import type { GuestHooks } from "./container/guest-hooks.ts";
import type { GuestPaths } from "./guest-paths.ts";
import type { Renewer } from "./identity/renewer.ts";
import type { AgentLog } from "./log.ts";
import { lateModules, type Modules } from "./modules.ts";
import type { AgentPort } from "./port.ts";
import { FifoPool } from "./process/fifo-pool.ts";
import { type RunTool, toolRunner } from "./runtime/run-tool.ts";
import { StatusError } from "./status.ts";
import type { HeldStorage } from "./storage/mount.ts";
import type { Step } from "./storage/plan.ts";
import { OomWatch } from "./system/oom-watch.ts";

/** What stands in CreateSandbox, while it stands. */
export interface Sandbox {
  readonly id: string;
  readonly held: HeldStorage;
  /** For each container that is made in it. */
  hooks: GuestHooks;
}

/** The agent's whole state. One sandbox at a time, as there is one a virtual machine. */
export interface Agent {
  readonly paths: GuestPaths;
  readonly log: AgentLog;
  readonly busybox: RunTool;
  readonly crun: RunTool;
  readonly fifos: FifoPool;
  readonly modules: Modules;
  /** Changes of the vCPUs take turns. */
  readonly vcpuTurns: Mutex;
  /** So do those of the network, and the parts of files that are copied. */
  readonly networkTurns: Mutex;
  readonly copyTurns: Mutex;
  /** And the showing of the guest's own files. */
  readonly imageTurns: Mutex;
  /** The paths of files of which not all parts have come. */
  readonly copies: Set<string>;
  readonly oom: OomWatch;
  readonly containers: Map<string, GuestContainer>;
  /** Waits, in a guest that is to be saved, for the identity of the one that goes on; undefined when none does. */
  renewer: Renewer | undefined;
  /** What connections come over; undefined where they come otherwise. */
  readonly port: Pick<AgentPort, "descriptor" | "handOver"> | undefined;
  sandbox: Sandbox | undefined;
}

export function createAgent(paths: GuestPaths, log: AgentLog, port?: Agent["port"]): Agent {
  const busybox = toolRunner(paths.busybox);
  return {
    paths,
    log,
    busybox,
    crun: toolRunner(paths.crun),
    fifos: new FifoPool(`${paths.own}/fifos`, busybox),
    // The processor is for containers: whoever waits for a module gives it to its loading by having nothing else to do.
    modules: lateModules(paths.modules, toolRunner(paths.busybox, { niceness: 19 }), log, join(paths.sys, "module")),
    vcpuTurns: new Mutex(),
    networkTurns: new Mutex(),
    copyTurns: new Mutex(),
    imageTurns: new Mutex(),
    copies: new Set(),
    oom: new OomWatch(),
    containers: new Map(),
    renewer: undefined,
    port,
    sandbox: undefined,
  };
}

/** @throws NOT_FOUND. */
export function findContainer(agent: Agent, id: string): GuestContainer {
  const container = agent.containers.get(id);
  if (container) return container;
  throw new StatusError("NOT_FOUND", `There is no container ${JSON.stringify(id)}`);
}

/** @throws FAILED_PRECONDITION when something is to be mounted where the sandbox or a container has something already: undoing one would undo the other. */
export function checkUnused({ sandbox, containers }: Agent, steps: readonly Step[]): void {
  const taken = new Set([sandbox, ...containers.values()].flatMap((owner) => owner?.held.targets ?? []));
  for (const step of steps) {
    if (step.kind === "mount" && taken.has(step.target)) {
      throw new StatusError("FAILED_PRECONDITION", `Cannot mount at ${JSON.stringify(step.target)}: something is mounted there already`);
    }
  }
}
