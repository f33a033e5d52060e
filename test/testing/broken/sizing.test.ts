import { type Bytes, isTapvisorError, TapvisorError, type VmSizing } from "tapvisor/plugin";
import { hypervisorSuite } from "tapvisor/testing";
import { suite } from "../../support/suite.ts";
import { amended, type MakeHypervisor, unheard, view } from "./amend-hypervisor.ts";
import { type Defects, expectCaught } from "./expect-caught.ts";

const s = suite("hypervisorSuite against hypervisors that resize badly");

const sizing = (amend: (honest: VmSizing) => Partial<VmSizing>) =>
  view((vm) => (vm.sizing ? { sizing: { ...vm.sizing, ...amend(vm.sizing) } } : {}));
const wrong = (path: string) => new TapvisorError("INVALID_INPUT", "no", { data: { path, wanted: "another" } });

const defects: Defects<MakeHypervisor> = {
  "says that it resizes and has no sizing": [/capability to resize/, view(() => ({ sizing: undefined as never }))],
  "has sizing and does not say so": [
    /capability to resize/,
    amended((h) => ({ ...h, capabilities: { ...h.capabilities, resize: false } })),
  ],
  "boots with all that it may have": [
    /at first what it booted with/,
    sizing((honest) => ({ size: async (call) => ({ ...(await honest.size(call)), vcpus: 4 }) })),
  ],
  "takes a number of vCPUs for a difference": [
    /vCPUs grow to their target/,
    sizing((honest) => ({
      resizeVcpus: async (target, call) => {
        const { vcpus } = await honest.size(call);
        return honest.resizeVcpus(Math.min(4, vcpus + target - 2), call);
      },
    })),
  ],
  "says that it plugged a vCPU and has not": [
    /vCPUs grow to their target/,
    sizing(() => ({ resizeVcpus: async (target) => ({ reached: target }) })),
  ],
  "cannot plug a vCPU again": [
    /and grow again/,
    sizing((honest) => {
      let shrunk = false;
      return {
        resizeVcpus: async (target, call) => {
          const { vcpus } = await honest.size(call);
          if (shrunk && target > 2) throw wrong("vcpus");
          shrunk ||= target < vcpus;
          return honest.resizeVcpus(target, call);
        },
      };
    }),
  ],
  "takes more vCPUs away than it was asked": [
    /or stay plugged/,
    sizing((honest) => ({ resizeVcpus: async (target, call) => (target > 2 ? honest.resizeVcpus(target, call) : { reached: 1 }) })),
  ],
  "grows half-way and says that it is there": [
    /memory grows to its target/,
    sizing((honest) => ({
      resizeMemory: async (target, call) => {
        const { memoryBytes } = await honest.size(call);
        await honest.resizeMemory(((memoryBytes + target) / 2) as Bytes, call);
        return { reached: target };
      },
    })),
  ],
  "grows half-way without a reason": [
    /memory grows to its target/,
    sizing((honest) => ({
      resizeMemory: async (target, call) => {
        const { memoryBytes } = await honest.size(call);
        return honest.resizeMemory(((memoryBytes + target) / 2) as Bytes, call);
      },
    })),
  ],
  "never takes memory back": [
    /memory shrinks to its target/,
    sizing((honest) => ({
      resizeMemory: async (target, call) => {
        const { memoryBytes } = await honest.size(call);
        return target < memoryBytes ? { reached: target } : honest.resizeMemory(target, call);
      },
    })),
  ],
  "refuses to shrink twice": [
    /memory shrinks to its target, which can be asked for again/,
    sizing((honest) => {
      const asked = new Set<number>();
      return {
        resizeMemory: async (target, call) => {
          const { memoryBytes } = await honest.size(call);
          if (target < memoryBytes && asked.has(target)) throw wrong("memory");
          asked.add(target);
          return honest.resizeMemory(target, call);
        },
      };
    }),
  ],
  "shrinks below what it booted with": [
    /nothing shrinks below/,
    sizing((honest) => {
      let least = Number.POSITIVE_INFINITY;
      return {
        resizeVcpus: (target, call) => {
          least = target;
          return honest.resizeVcpus(target, call);
        },
        size: async (call) => {
          const { vcpus, memoryBytes } = await honest.size(call);
          return { vcpus: Math.min(vcpus, least), memoryBytes };
        },
      };
    }),
  ],
  "goes as far as its limit and no further": [
    /above the limit/,
    sizing((honest) => ({ resizeVcpus: (target, call) => honest.resizeVcpus(Math.min(4, target), call) })),
  ],
  "rounds what is no amount": [
    /no amount, is refused/,
    sizing((honest) => ({ resizeMemory: (target, call) => honest.resizeMemory(Math.floor(target) as Bytes, call) })),
  ],
  "grows although the signal has fired": [
    /growing with a signal/,
    sizing((honest) => ({
      resizeVcpus: async (target, call) => {
        const resized = await honest.resizeVcpus(target, { ...call, ...unheard });
        call.signal.throwIfAborted();
        return resized;
      },
    })),
  ],
  "keeps its size in the view": [
    /later connect/,
    sizing(() => {
      let [vcpus, memoryBytes] = [2, (256 * 2 ** 20) as Bytes];
      return {
        size: async () => ({ vcpus, memoryBytes }),
        resizeVcpus: async (target) => {
          vcpus = target;
          return { reached: target };
        },
        resizeMemory: async (target) => {
          memoryBytes = target;
          return { reached: target };
        },
      };
    }),
  ],
  "fails when the caller of a shrink gives up": [
    /caller gives up resolves/,
    sizing((honest) => ({
      resizeMemory: async (target, call) => {
        const resized = await honest.resizeMemory(target, call);
        call.signal.throwIfAborted();
        return resized;
      },
    })),
  ],
  "does not hear the caller of a shrink": [
    /caller gives up resolves/,
    sizing((honest) => ({ resizeMemory: (target, call) => honest.resizeMemory(target, { ...call, ...unheard }) })),
  ],
  "calls a shrink done that was given up": [
    /caller gives up resolves/,
    sizing((honest) => ({ resizeMemory: async (target, call) => ({ reached: (await honest.resizeMemory(target, call)).reached }) })),
  ],
  "resizes what is dead": [
    /has died cannot be resized/,
    sizing((honest) => ({
      resizeVcpus: (target, call) =>
        honest.resizeVcpus(target, call).catch((error: unknown) => {
          if (isTapvisorError(error) && error.code === "VM_FAILED") return { reached: target };
          throw error;
        }),
    })),
  ],
};

expectCaught(s, defects, (name, make, options) => hypervisorSuite(name, make, options));

s.run();
