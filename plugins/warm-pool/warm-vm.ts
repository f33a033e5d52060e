import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import { type Call, type Hypervisor, messageOf, newId, type VmGrant, type VmIntent } from "tapvisor/plugin";
import { makePlace, removePlace } from "./places.ts";
import { type Host, rehearse } from "./rehearse.ts";
import type { Wanted } from "./wanted.ts";

/** A VM of the pool, by the intent and the grant of its own. */
export interface WarmVm {
  readonly kind: string;
  readonly intent: VmIntent;
  readonly grant: VmGrant;
  /** Settles when it has ended. */
  readonly exited: Promise<unknown>;
}

interface Start {
  readonly call: Call;
  /** Whether somebody needs the VM now. */
  readonly isAwaited: () => boolean;
  readonly giveBack: (intent: VmIntent) => Promise<void>;
}

/** How long a VM that waits may take to show that it runs, ms; 10 is usual. */
export const WAKE_MS = 3_000;

/** Starts a VM for whoever wants one like this. It stands still: while it waits it takes no processor. What a failure leaves is for `giveBack`. */
export async function startWarm(
  host: Host,
  { kind, intent: wanted }: Wanted,
  owner: string,
  { call, isAwaited, giveBack }: Start,
): Promise<WarmVm> {
  const { hypervisor: over } = host;
  const intent = warmIntent(wanted, owner);
  try {
    await makePlace(intent);
    const grant = await over.holdings.vm.acquire(intent, call);
    if (!isAwaited()) await rehearse(host, grant, call);
    const vm = await over.connect(grant, call);
    if (over.capabilities.pause) await vm.pause(call);
    // Nothing of it holds the script's event loop: one that is done need not close its engine.
    await vm.disconnect();
    return { kind, intent, grant, exited: vm.exited };
  } catch (error) {
    await giveBack(intent);
    throw error;
  }
}

function warmIntent(wanted: VmIntent, owner: string): VmIntent {
  const sandbox = newId("warm");
  const { memory } = wanted;
  return {
    ...wanted,
    sandbox,
    nonce: randomBytes(16).toString("hex"),
    runDirectory: join(owner, sandbox.slice(-10)), // short: sockets lie in it
    ...(memory?.kind === "copy" && { memory: { ...memory, copy: join(dirname(memory.copy), `${sandbox}.memory`) } }),
  };
}

/** Has a VM that waits go on; `false` when it does not run, or does not answer. */
export async function wake(over: Hypervisor, { intent, grant }: WarmVm, call: Call): Promise<boolean> {
  const within = { ...call, signal: AbortSignal.any([call.signal, AbortSignal.timeout(WAKE_MS)]) };
  try {
    const vm = await over.connect(grant, within);
    try {
      if (over.capabilities.pause) await vm.resume(within);
      return (await vm.status(within)) === "running";
    } finally {
      await vm.disconnect();
    }
  } catch (error) {
    call.log.debug({ vm: intent.sandbox, reason: messageOf(error) }, "a waiting VM cannot be used");
    return false;
  }
}

/** Gives a VM of the pool back, whether it runs, has ended or never began, in this process or a later one. */
export async function releaseWarm(over: Hypervisor, intent: VmIntent, grant: VmGrant | undefined, call: Call): Promise<void> {
  await over.holdings.vm.release({ intent, grant }, call);
  await removePlace(intent);
}
