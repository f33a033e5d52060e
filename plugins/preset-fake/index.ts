import { definePreset, type Preset } from "tapvisor/plugin";
import { type AgentFakeOptions, agentFake } from "tapvisor/plugins/agent-fake";
import { type HypervisorFakeOptions, hypervisorFake } from "tapvisor/plugins/hypervisor-fake";
import { rootfsBlock } from "tapvisor/plugins/rootfs-block";
import { rootfsDir } from "tapvisor/plugins/rootfs-dir";
import { type MemoryState, stateMemory } from "tapvisor/plugins/state-memory";
import type { FakeWorld } from "tapvisor/testing";

export interface PresetFakeOptions {
  /** The world to act on; the process's shared one by default. */
  readonly world?: FakeWorld;
  /** The records; new ones for each preset by default. */
  readonly state?: MemoryState;
  /** What the hypervisor can do, and the agent: all of it by default. */
  readonly hypervisor?: Omit<HypervisorFakeOptions, "world">;
  readonly agent?: Omit<AgentFakeOptions, "world">;
}

/** Everything in memory but the rootfs, which must be a real directory or disk image. */
export function presetFake({ world, state, hypervisor, agent }: PresetFakeOptions = {}): Preset {
  const inWorld = world ? { world } : {};
  return definePreset({
    name: "fake",
    plugins: [
      hypervisorFake({ ...inWorld, ...hypervisor }),
      agentFake({ ...inWorld, ...agent }),
      stateMemory(state ? { state } : {}),
      rootfsDir(),
      rootfsBlock(),
    ],
    slots: { hypervisor: "fake", guest: "none", agent: "fake", stateStore: "memory", rootfs: "dir" },
  });
}

export default presetFake();
