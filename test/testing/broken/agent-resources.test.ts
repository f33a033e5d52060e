import { isTapvisorError, type OciResources, TapvisorError } from "tapvisor/plugin";
import { agentSuite } from "tapvisor/testing";
import { suite } from "../../support/suite.ts";
import { client, deaf, type MakeAgent } from "./amend-agent.ts";
import { type Defects, expectCaught } from "./expect-caught.ts";

const s = suite("agentSuite against agents that are bad with limits, pauses, vCPUs and disks");

const gone = (method: string) => new TapvisorError("AGENT_FAILED", "no", { data: { method, status: "NOT_FOUND" } });
const isRefusal = (error: unknown) => isTapvisorError(error) && error.code === "AGENT_FAILED";
/** Unless the agent refused. */
const orElse = <T>(work: Promise<T>, instead: () => T | Promise<T>) =>
  work.catch((error: unknown) => {
    if (isRefusal(error)) return instead();
    throw error;
  });

const pauses: Defects<MakeAgent> = {
  "says that it paused and has not": [/does nothing until it is resumed/, client(() => ({ pauseContainer: async () => {} }))],
  "never resumes": [/goes on where it was/, client(() => ({ resumeContainer: async () => {} }))],
  "pauses every container": [
    /leaves another one running/,
    client((honest) => ({
      pauseContainer: async (_, call) => {
        for (const each of ["paused", "other"]) await honest.pauseContainer(each, call);
      },
    })),
  ],
  "pauses what does not run": [
    /cannot be paused or resumed|only a running/,
    client((honest) => ({ pauseContainer: (...args) => orElse(honest.pauseContainer(...args), () => {}) })),
  ],
  "resumes what is not paused": [
    /only a paused one resumed/,
    client((honest) => ({ resumeContainer: (...args) => orElse(honest.resumeContainer(...args), () => {}) })),
  ],
  "cannot say why it does not pause": [
    /cannot be paused or resumed/,
    client((honest) => ({
      pauseContainer: (...args) => orElse(honest.pauseContainer(...args), () => Promise.reject(gone("PauseContainer"))),
    })),
  ],
  "does not kill a paused process": [
    /can be killed/,
    client((honest) => {
      const paused = new Set<string>();
      return {
        pauseContainer: async (id, call) => {
          paused.add(id);
          await honest.pauseContainer(id, call);
        },
        signalProcess: async (process, ...rest) => {
          if (!paused.has(process.container)) await honest.signalProcess(process, ...rest);
        },
      };
    }),
  ],
  "cannot remove a paused container": [
    /and removed/,
    client((honest) => {
      const paused = new Set<string>();
      return {
        pauseContainer: async (id, call) => {
          paused.add(id);
          await honest.pauseContainer(id, call);
        },
        removeContainer: (id, call) => (paused.has(id) ? Promise.reject(gone("RemoveContainer")) : honest.removeContainer(id, call)),
      };
    }),
  ],
  "pauses although the signal has fired": [
    /pauseContainer\(\) with a signal/,
    client((honest) => ({
      pauseContainer: async (id, call) => {
        await honest.pauseContainer(id, { ...call, ...deaf });
        call.signal.throwIfAborted();
      },
    })),
  ],
};

const limits: Defects<MakeAgent> = {
  "sets limits when the container has been started": [
    /has not been started are set/,
    client((honest) => {
      const started = new Set<string>();
      return {
        startContainer: async (id, call) => {
          started.add(id);
          await honest.startContainer(id, call);
        },
        updateContainer: async (id, ...rest) => (started.has(id) ? honest.updateContainer(id, ...rest) : undefined),
      };
    }),
  ],
  "forgets what an update does not name": [
    /that runs are set part by part/,
    client((honest) => ({
      updateContainer: (id, resources, call) =>
        honest.updateContainer(id, { memory: { limit: -1 }, pids: { limit: -1 }, ...resources }, call),
    })),
  ],
  "takes -1 for no change": [
    /-1 takes one away/,
    client((honest) => ({
      updateContainer: async (id, resources, call) => {
        if (resources.memory?.limit !== -1) await honest.updateContainer(id, resources, call);
      },
    })),
  ],
  "makes a part of an update": [
    /cannot be made in full/,
    client((honest) => ({
      updateContainer: async (id, resources, call) => {
        for (const [part, value] of Object.entries(resources)) {
          await honest.updateContainer(id, { [part]: value } as OciResources, call);
        }
      },
    })),
  ],
  "says that it updated and could not": [
    /cannot be made in full/,
    client((honest) => ({ updateContainer: (...args) => orElse(honest.updateContainer(...args), () => {}) })),
  ],
  "updates although the signal has fired": [
    /updateContainer\(\) with a signal/,
    client((honest) => ({
      updateContainer: async (id, resources, call) => {
        await honest.updateContainer(id, resources, { ...call, ...deaf });
        call.signal.throwIfAborted();
      },
    })),
  ],
  "has no stats of what does not run": [
    /before the start/,
    client((honest) => ({
      statsContainer: async (id, call) => {
        const stats = await honest.statsContainer(id, call);
        if (stats.pids.current === 0) throw gone("StatsContainer");
        return stats;
      },
    })),
  ],
  "counts in fractions": [
    /in bounds/,
    client((honest) => ({
      statsContainer: async (...args) => {
        const stats = await honest.statsContainer(...args);
        return { ...stats, cpu: { ...stats.cpu, userUs: 0.5 } };
      },
    })),
  ],
  "says that a process uses nothing": [
    /in bounds/,
    client((honest) => ({
      statsContainer: async (...args) => {
        const stats = await honest.statsContainer(...args);
        return { ...stats, memory: { ...stats.memory, usage: { ...stats.memory.usage, bytes: 0 } } };
      },
    })),
  ],
  "never counts CPU time": [
    /CPU time grows/,
    client((honest) => ({
      statsContainer: async (...args) => {
        const stats = await honest.statsContainer(...args);
        return { ...stats, cpu: { ...stats.cpu, totalUs: 1 } };
      },
    })),
  ],
  "counts CPU time while a container is paused": [
    /not while it is paused/,
    client((honest) => {
      let totalUs = 0;
      return {
        statsContainer: async (...args) => {
          const stats = await honest.statsContainer(...args);
          return { ...stats, cpu: { ...stats.cpu, totalUs: totalUs++ } };
        },
      };
    }),
  ],
};

const resources: Defects<MakeAgent> = {
  "has the call and gives nothing": [/told apart/, client(() => ({ syncResources: async () => undefined }))],
  "parks vCPUs when it is asked what there is": [
    /told apart/,
    client((honest) => {
      let asked = 0;
      return { syncResources: (request, call) => honest.syncResources(asked++ ? { vcpus: 1 } : request, call) };
    }),
  ],
  "says that there is no memory": [
    /told apart/,
    client((honest) => ({
      syncResources: async (...args) => {
        const found = await honest.syncResources(...args);
        return found && { ...found, memoryBytes: 0 };
      },
    })),
  ],
  "fails to bring nothing online": [
    /with nothing new resolves/,
    client((honest) => ({
      onlineCpuMem: (request, call) => (request.vcpus === 0 ? Promise.reject(gone("OnlineCPUMem")) : honest.onlineCpuMem(request, call)),
    })),
  ],
  "never parks a vCPU": [
    /parks the others/,
    client((honest) => ({ syncResources: ({ vcpus }, call) => honest.syncResources(vcpus === 1 ? {} : { vcpus: vcpus ?? 2 }, call) })),
  ],
  "never brings a parked vCPU back": [
    /again and again/,
    client((honest) => {
      let least = Number.POSITIVE_INFINITY;
      return {
        syncResources: ({ vcpus }, call) => {
          if (vcpus === undefined) return honest.syncResources({}, call);
          least = Math.min(least, vcpus);
          return honest.syncResources({ vcpus: least }, call);
        },
      };
    }),
  ],
  "takes no vCPU for a number of them": [
    /cannot run on no vCPU/,
    client((honest) => ({ syncResources: (request, call) => honest.syncResources(request.vcpus === 0 ? {} : request, call) })),
  ],
  "parks although the signal has fired": [
    /syncResources\(\) with a signal/,
    client((honest) => ({
      syncResources: async (request, call) => {
        const found = await honest.syncResources(request, { ...call, ...deaf });
        call.signal.throwIfAborted();
        return found;
      },
    })),
  ],
};

const disks: Defects<MakeAgent> = {
  "fails to let go of what is not there": [
    /not there is let go of/,
    client((honest) => ({
      releaseDisk: (disk, call) => (disk.address === "255:255" ? Promise.reject(gone("ReleaseDisk")) : honest.releaseDisk(disk, call)),
    })),
  ],
  "finds what is not there": [
    /and not found/,
    client((honest) => ({ findDisk: (...args) => orElse(honest.findDisk(...args), () => ({ node: "/dev/sdz", bytes: 0 })) })),
  ],
  "does not look at the signal": [
    /findDisk\(\) and releaseDisk\(\) with a signal/,
    client((honest) => ({ releaseDisk: (disk, call) => honest.releaseDisk(disk, { ...call, ...deaf }) })),
  ],
  "tells a wrong size": [
    /with its size/,
    client((honest) => ({
      findDisk: async (...args) => {
        const found = await honest.findDisk(...args);
        return found && { ...found, bytes: found.bytes / 512 };
      },
    })),
  ],
  "finds the same disk everywhere": [
    /a disk is found/,
    client((honest) => ({
      findDisk: async (...args) => {
        const found = await honest.findDisk(...args);
        return found && { ...found, node: "/dev/sda" };
      },
    })),
  ],
  "lets go of a disk that is in use": [
    /is in use/,
    client((honest) => ({ releaseDisk: (...args) => orElse(honest.releaseDisk(...args), () => {}) })),
  ],
  "never lets go of a disk that was in use": [
    /until the container is removed/,
    client((honest) => {
      let used = false;
      return {
        releaseDisk: async (disk, call) => {
          if (used) throw new TapvisorError("AGENT_FAILED", "no", { data: { method: "ReleaseDisk", status: "FAILED_PRECONDITION" } });
          await honest.releaseDisk(disk, call).catch((error: unknown) => {
            used = true;
            throw error;
          });
        },
      };
    }),
  ],
  "makes a container without its disk": [
    /with a disk that is not there is refused/,
    client((honest) => ({ createContainer: ({ devices: _, ...request }, call) => honest.createContainer(request, call) })),
  ],
  "keeps a container that it refused": [
    /and not kept/,
    client((honest) => {
      const kept = new Set<string>();
      return {
        createContainer: async (request, call) => {
          if (kept.has(request.container)) throw gone("CreateContainer");
          await honest.createContainer(request, call).catch((error: unknown) => {
            kept.add(request.container);
            throw error;
          });
        },
      };
    }),
  ],
};

for (const defects of [pauses, limits, resources, disks]) {
  expectCaught(s, defects, (name, make, options) => agentSuite(name, make, options));
}

s.run();
