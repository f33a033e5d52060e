import { definePreset } from "tapvisor/plugin";
import { agentFake } from "tapvisor/plugins/agent-fake";
import { hypervisorFake } from "tapvisor/plugins/hypervisor-fake";
import { qemuPlanner } from "tapvisor/plugins/hypervisor-qemu";
import { rootfsBlock } from "tapvisor/plugins/rootfs-block";
import { rootfsDir } from "tapvisor/plugins/rootfs-dir";
import { stateMemory } from "tapvisor/plugins/state-memory";
import { type FakePrograms, FakeWorld } from "tapvisor/testing";

/** Whatever a container is told to run ends at once, having printed nothing. */
const anyProgram: FakePrograms = new Proxy<FakePrograms>(
  {},
  {
    get: () => () => 0,
    getOwnPropertyDescriptor: () => ({ configurable: true, enumerable: true, value: () => 0 }),
  },
);

class PlannedWorld extends FakeWorld {
  override readonly programs = anyProgram;
}

const world = new PlannedWorld();

/** For `tapvisor plan`: a world in memory that takes what QEMU takes, and names the commands that QEMU would be given. */
export default definePreset({
  name: "plan",
  plugins: [hypervisorFake({ world, planner: qemuPlanner }), agentFake({ world }), stateMemory(), rootfsDir(), rootfsBlock()],
  slots: { hypervisor: "fake", guest: "none", agent: "fake", stateStore: "memory", rootfs: "dir" },
});
