import { constants } from "node:os";
import type { VmIntent, VmSize } from "../../contracts/hypervisor.ts";
import { FakeContainer, type SavedContainer } from "./container.ts";
import type { FakeDisk } from "./disks.ts";
import type { FakeGuest, FakeGuestSandbox } from "./guest.ts";
import type { SavedIdentity } from "./identity.ts";
import type { SavedNetwork } from "./network.ts";
import type { FakeProcess, SavedProcess } from "./process.ts";
import { type FakePrograms, runnable } from "./programs.ts";
import type { SavedSystem } from "./system.ts";
import type { FakeVm } from "./vm.ts";

/** What a VM of the fake world was when it was saved; it shares nothing with it that ever changes. */
export interface SavedVm {
  readonly kind: "template" | "snapshot";
  readonly machine: Pick<VmIntent, "vcpus" | "memoryBytes" | "limits">;
  readonly size: VmSize;
  readonly disks: readonly FakeDisk[];
  readonly guest: SavedGuest;
}

interface SavedGuest {
  readonly sandbox: FakeGuestSandbox | undefined;
  readonly usedBytes: number;
  readonly onlineVcpus: number;
  readonly network: SavedNetwork;
  readonly system: SavedSystem;
  readonly identity: SavedIdentity;
  readonly containers: readonly (readonly [id: string, container: SavedContainer])[];
}

export function saveVm({ intent, size, disks, guest }: FakeVm, kind: SavedVm["kind"]): SavedVm {
  const { vcpus, memoryBytes, limits } = intent;
  return {
    kind,
    machine: { vcpus, memoryBytes, ...(limits && { limits }) },
    size: { vcpus: size.vcpus, memoryBytes: size.memoryBytes },
    disks: [...disks.values()],
    guest: saveGuest(guest),
  };
}

/** Makes a new guest what the saved one was. Programs are functions of this process: each begins again, with what it had kept in `memory`. */
export function restoreGuest(guest: FakeGuest, saved: SavedGuest, programs: FakePrograms): void {
  const { sandbox, usedBytes, onlineVcpus, network, system, identity, containers } = saved;
  Object.assign(guest, { sandbox, usedBytes });
  guest.vcpus.restore(onlineVcpus);
  guest.network.restore(network);
  guest.system.restore(system);
  guest.identity.restore(identity);
  for (const [id, container] of containers) {
    const restored = new FakeContainer(container.request, container);
    guest.containers.set(id, restored);
    goOn(restored.process, container.process, programs);
    for (const [exec, process] of container.execs) goOn(restored.execs.get(exec), process, programs);
  }
}

function saveGuest({ sandbox, usedBytes, vcpus, network, system, identity, containers }: FakeGuest): SavedGuest {
  const saved = [...containers].map(([id, container]) => [id, container.save()] as const);
  return {
    sandbox,
    usedBytes,
    onlineVcpus: vcpus.online,
    network: network.save(),
    system: system.save(),
    identity: identity.save(),
    containers: saved,
  };
}

function goOn(process: FakeProcess | undefined, saved: SavedProcess, programs: FakePrograms): void {
  if (saved.state !== "running") return;
  try {
    process?.goOn(runnable(programs, saved.spec, "a VM that goes on"), saved);
  } catch {
    process?.end(128 + constants.signals.SIGKILL); // the test has taken its program away
  }
}
