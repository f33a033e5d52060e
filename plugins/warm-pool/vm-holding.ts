import { type Call, type Held, type HoldingKind, type Hypervisor, throwIfAborted, type VmGrant, type VmIntent } from "tapvisor/plugin";
import { grantOf, handedOutBy, readHandOut, removeHandOut, writeHandOut } from "./handed-out.ts";
import type { Pool } from "./pool.ts";
import { wantedOf } from "./wanted.ts";
import { releaseWarm } from "./warm-vm.ts";

/** A VM that waited, where there is one for the intent; one that is started, otherwise. */
export function vmHolding(over: Hypervisor, pool: Pool): HoldingKind<VmIntent, VmGrant> {
  return {
    async acquire(intent, call) {
      pool.comesUp(intent);
      return (await fromPool(intent, pool, call)) ?? over.holdings.vm.acquire(intent, call);
    },
    async release(held, call) {
      try {
        await release(over, held, call);
      } finally {
        pool.isUp(held.intent.sandbox, held.intent.nonce);
      }
    },
  };
}

async function fromPool(intent: VmIntent, pool: Pool, call: Call): Promise<VmGrant | undefined> {
  throwIfAborted(call.signal, `the start of the VM of sandbox "${intent.sandbox}"`);
  const wanted = await wantedOf(intent);
  const vm = wanted && (await pool.take(wanted, call));
  if (!vm) return undefined;
  try {
    await writeHandOut(intent, vm);
    call.log.debug({ vm: vm.intent.sandbox }, "takes a VM that waited");
    return grantOf(intent, vm);
  } catch (error) {
    pool.discard(vm);
    throw error;
  }
}

async function release(over: Hypervisor, { intent, grant }: Held<VmIntent, VmGrant>, call: Call): Promise<void> {
  const handedOut = handedOutBy(grant) ?? (await readHandOut(intent));
  if (!handedOut) return over.holdings.vm.release({ intent, grant }, call);
  await releaseWarm(over, handedOut.intent, handedOut.grant, call);
  await removeHandOut(intent);
}
