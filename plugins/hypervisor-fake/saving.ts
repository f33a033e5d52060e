import { rm } from "node:fs/promises";
import { TapvisorError, type Vm } from "tapvisor/plugin";
import type { FakeVm, FakeWorld } from "tapvisor/testing";
import type { Traits } from "./options.ts";
import { writeState } from "./saved-vm.ts";

/** Saves a VM, as a template or whole. What fails is undone, also where a fault strikes after it took effect: the file is gone, and the VM runs on if it ran. */
export function saving(
  world: FakeWorld,
  vm: FakeVm,
  { templates, snapshots }: Traits,
  mustBeConnected: () => void,
): Pick<Vm, "save" | "snapshot"> {
  const save = async (kind: "template" | "snapshot", file: string, signal: AbortSignal) => {
    const subject = { sandbox: vm.intent.sandbox };
    let undo = async () => {};
    const work = async () => {
      mustBeConnected();
      vm.mustLive();
      if (kind === "template") checkTemplate(vm);
      else checkSnapshot(vm);
      const resume = vm.state === "running";
      vm.pause();
      undo = async () => {
        if (resume && vm.state === "paused") vm.resume();
      };
      const pausedOnly = undo;
      await writeState(file, world.saveVm(subject.sandbox, kind));
      undo = async () => {
        await rm(file, { force: true });
        await pausedOnly();
      };
      vm.mustLive();
    };
    await world.perform(kind === "template" ? "hypervisor.save" : "hypervisor.snapshot", subject, signal, work).catch(async (error) => {
      await undo();
      throw error;
    });
  };
  return {
    ...(templates ? { save: (state, { signal }) => save("template", state, signal) } : {}),
    ...(snapshots ? { snapshot: (state, { signal }) => save("snapshot", state, signal) } : {}),
  };
}

/** @throws INVALID_STATE for a VM whose memory is in no template's file, or into which something has been plugged. */
function checkTemplate({ intent, size, shares, disks }: FakeVm): void {
  const isTemplate = intent.memory?.kind === "template";
  const asBooted = size.vcpus === intent.vcpus && size.memoryBytes === intent.memoryBytes && shares.size + disks.size === 0;
  if (isTemplate && asBooted) return;
  const why = isTemplate ? "something has been plugged into it" : "its memory is in no template's file";
  throw new TapvisorError("INVALID_STATE", `Cannot save the VM of sandbox "${intent.sandbox}": ${why}`, {
    data: { kind: "sandbox", id: intent.sandbox, state: "running", verb: "save", allowed: [] },
  });
}

/** @throws UNSUPPORTED for a VM with a share: its server's state is not the VM's. */
function checkSnapshot({ intent, shares }: FakeVm): void {
  const [share] = shares.keys();
  if (share === undefined) return;
  throw new TapvisorError("UNSUPPORTED", `Cannot save the VM of sandbox "${intent.sandbox}" whole: it has share "${share}"`, {
    data: { what: `a snapshot with share "${share}"`, by: "hypervisor-fake" },
  });
}
