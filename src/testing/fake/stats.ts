import { MiB } from "../../base/units.ts";
import type { GuestProcessInfo } from "../../contracts/agent.ts";
import type { ContainerStats, MemoryUsage } from "../../contracts/stats.ts";
import type { FakeContainer } from "./container.ts";
import type { FakeProcess } from "./process.ts";

/** What a process of the fake world takes while it runs. */
const RUNNING_BYTES = 4 * MiB;
const NOTHING: MemoryUsage = { bytes: 0, maxBytes: 0, failures: 0 };

/** A process that runs, as the guest's kernel would show it. */
export function processInfo({ pid, spec: { args, user }, elapsedMs }: FakeProcess): GuestProcessInfo {
  const { uid, gid } = user;
  const elapsedSeconds = Math.floor(elapsedMs / 1000);
  return { pid, parentPid: 0, uid, gid, state: "S", command: args.join(" "), elapsedSeconds, residentBytes: RUNNING_BYTES };
}

/** What a container has used; a part that the test has set is as it was set. */
export function statsOf({ process, running: processes, limits, usedUs, oomKills, stats }: FakeContainer): ContainerStats {
  const running = process.state === "running";
  const limitBytes = limited(limits.memory?.limit);
  const pidLimit = limited(limits.pids?.limit);
  return {
    cpu: {
      totalUs: usedUs,
      perVcpuUs: [],
      kernelUs: 0,
      userUs: usedUs,
      throttling: { periods: 0, throttledPeriods: 0, throttledUs: 0 },
    },
    memory: {
      usage: {
        bytes: running ? RUNNING_BYTES : 0,
        maxBytes: process.state === "created" ? 0 : RUNNING_BYTES,
        failures: oomKills,
        ...(limitBytes === undefined ? {} : { limitBytes }),
      },
      swap: NOTHING,
      kernel: NOTHING,
      cacheBytes: 0,
      useHierarchy: true,
      oomKills,
      counters: { anon: running ? RUNNING_BYTES : 0, oom_kill: oomKills },
    },
    pids: { current: processes.length, ...(pidLimit === undefined ? {} : { limit: pidLimit }) },
    blockIo: { serviceBytes: [], serviced: [], queued: [], serviceTime: [], waitTime: [], merged: [], time: [], sectors: [] },
    hugetlb: {},
    network: [],
    ...stats,
  };
}

function limited(limit: number | undefined): number | undefined {
  return limit === undefined || limit < 0 ? undefined : limit;
}
