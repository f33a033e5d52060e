import assert from "node:assert/strict";
import type { Hypervisor, Vm, VmGrant, VmIntent } from "../../contracts/hypervisor.ts";
import { quietCall } from "../quiet-call.ts";

/**
 * What the guest of a VM does. `quiet`: stays, and gives plugged devices back when asked. `hostile`: prints HOSTILE_TEXT on its console and
 * stays. `flood`: prints without end.
 */
export type GuestBehaviour = "quiet" | "hostile" | "flood";

/** What a hostile guest prints: a colour, a bell, the 8-bit form of "clear the screen"; then `end`. Bytes, as latin1. */
export const HOSTILE_TEXT = "\x1b[31mred\x07\x9b2J end\n";

/** A hypervisor in a place of its own, and what the checks need around it. */
export interface HypervisorFixture extends AsyncDisposable {
  readonly hypervisor: Hypervisor;
  /** An existing host directory with at least one file, to share. The images of disks are made in it, and removed again. */
  readonly directory: string;
  /** What starts a VM with such a guest. Each call makes a new intent: a nonce and an existing run directory of its own. */
  vmIntent(sandbox: string, guest: GuestBehaviour): Promise<VmIntent>;
  /** Resolves when the guest has booted as far as it will; absent when there is nothing to wait for. */
  booted?(grant: VmGrant): Promise<void>;
  /** Ends a VM as a crash would: SIGKILL, where it is a process. Resolves when it is gone. */
  kill(grant: VmGrant): Promise<void>;
  /**
   * Whether a `quiet` guest takes memory and gives it back as it is asked; `true` when absent. With one that has no driver for it, a resize
   * may end short of its target and must say why.
   */
  readonly guestResizes?: boolean;
  /**
   * Everything the hypervisor holds on the host now, as plain data: processes, mounts, sockets, files, devices. The fixture's own run
   * directories are no part of it. Two that are equal mean that nothing has leaked.
   */
  snapshot(): Promise<unknown>;
}

export const SANDBOX = "box";

/** Starts a VM and lets `body` use it; then it is released and nothing may be left. `amend` changes what is asked for. */
export async function withVm(
  fixture: HypervisorFixture,
  body: (vm: { readonly intent: VmIntent; readonly grant: VmGrant }) => Promise<void>,
  guest: GuestBehaviour = "quiet",
  amend: (intent: VmIntent) => VmIntent = (same) => same,
): Promise<void> {
  await leavesNothing(fixture, async () => {
    const { vm } = fixture.hypervisor.holdings;
    const intent = amend(await fixture.vmIntent(SANDBOX, guest));
    try {
      const grant = await vm.acquire(intent, quietCall());
      await fixture.booted?.(grant);
      await body({ intent, grant });
    } finally {
      await vm.release({ intent, grant: undefined }, quietCall());
    }
  });
}

/** Runs `body`, and compares what is held with what was. */
export async function leavesNothing(fixture: HypervisorFixture, body: () => Promise<void>): Promise<void> {
  const before = await fixture.snapshot();
  await body();
  assert.deepEqual(await fixture.snapshot(), before, "something is left");
}

/** The live view of a VM while `body` runs. */
export async function connected<T>({ hypervisor }: HypervisorFixture, grant: VmGrant, body: (vm: Vm) => Promise<T>): Promise<T> {
  const vm = await hypervisor.connect(grant, quietCall());
  try {
    return await body(vm);
  } finally {
    await vm.disconnect();
  }
}
