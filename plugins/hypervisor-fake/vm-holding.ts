import { type HoldingKind, TapvisorError, type VmGrant, type VmIntent } from "tapvisor/plugin";
import type { FakeWorld } from "tapvisor/testing";

/** The VM itself. */
export function vmHolding(world: FakeWorld): HoldingKind<VmIntent, VmGrant> {
  return {
    acquire: (intent, call) =>
      world.perform("hypervisor.vm.acquire", { sandbox: intent.sandbox }, call.signal, () => {
        check(intent);
        world.startVm(intent);
        const { sandbox, nonce, runDirectory } = intent;
        return { sandbox, nonce, runDirectory, process: null, accelerator: "none", agentEndpoint: { kind: "memory", sandbox } };
      }),
    release: ({ intent: { sandbox, nonce } }, call) =>
      world.perform("hypervisor.vm.release", { sandbox }, call.signal, () => world.releaseVm(sandbox, nonce)),
  };
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
