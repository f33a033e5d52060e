import { rm } from "node:fs/promises";
import { type HoldingKind, TapvisorError, type VmGrant, type VmIntent } from "tapvisor/plugin";
import type { FakeWorld } from "tapvisor/testing";
import { imageBytes } from "./disk-image.ts";
import type { Traits } from "./options.ts";
import { savedVm } from "./saved-vm.ts";

/** The VM itself. */
export function vmHolding(world: FakeWorld, traits: Traits): HoldingKind<VmIntent, VmGrant> {
  return {
    acquire: (intent, call) =>
      world.perform("hypervisor.vm.acquire", { sandbox: intent.sandbox }, call.signal, async () => {
        check(intent);
        checkMemory(intent, traits);
        for (const disk of intent.plugged?.disks ?? []) await imageBytes({ ...disk, vm: grantOf(intent) });
        world.startVm(intent, await savedVm(world, intent));
        return grantOf(intent);
      }),
    release: ({ intent: { sandbox, nonce, memory } }, call) =>
      world.perform("hypervisor.vm.release", { sandbox }, call.signal, async () => {
        world.releaseVm(sandbox, nonce);
        if (memory?.kind === "copy") await rm(memory.copy, { force: true });
      }),
  };
}

function grantOf({ sandbox, nonce, runDirectory }: VmIntent): VmGrant {
  return { sandbox, nonce, runDirectory, process: null, accelerator: "none", agentEndpoint: { kind: "memory", sandbox } };
}

function checkMemory({ sandbox, memory, plugged }: VmIntent, { templates, snapshots }: Traits): void {
  const can = memory === undefined || (memory.kind === "snapshot" ? snapshots : templates);
  if (can && (!plugged || memory?.kind === "snapshot")) return;
  const what = can ? "what is plugged into a VM that goes on from no snapshot" : `memory of the kind ${memory.kind}`;
  throw new TapvisorError("UNSUPPORTED", `Cannot start the VM of sandbox "${sandbox}" with ${what}`, {
    data: { what, by: "hypervisor-fake" },
  });
}

/** A fake that took what a real one refuses would hide the engine's mistakes. */
function check({ sandbox, nonce, runDirectory, vcpus, memoryBytes, limits }: VmIntent): void {
  const wrong = Object.entries({
    nonce: nonce.length >= 16,
    runDirectory: runDirectory.startsWith("/"),
    vcpus: Number.isInteger(vcpus) && vcpus > 0,
    memoryBytes: Number.isSafeInteger(memoryBytes) && memoryBytes > 0,
    limits: !limits || (limits.vcpus >= vcpus && limits.memoryBytes >= memoryBytes),
  }).flatMap(([name, right]) => (right ? [] : [name]));
  if (wrong.length === 0) return;
  throw new TapvisorError("VM_FAILED", `Cannot start the VM of sandbox "${sandbox}": its ${wrong.join(", ")} cannot be used`, {
    data: { id: sandbox },
  });
}
