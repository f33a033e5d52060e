import { messageOf } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxContext } from "../engine/context.ts";
import { fitVm } from "./fit-vm.ts";
import { targetFor } from "./ledger.ts";

/** Gives the VM the size that its containers ask for now, in case it has another; logs when that fails, and the ledger says what it has. */
export async function refit(sb: SandboxContext): Promise<void> {
  const call = { signal: AbortSignal.timeout(DEADLINES.hotplug), log: sb.log };
  await fitVm(sb, call, { shrink: true }).catch((error) => sb.log.warn({ reason: messageOf(error) }, "cannot give the VM its size"));
}

/** Asks once more for memory that the guest has kept so far: what has been released since may have held it. */
export async function takeBackKept(sb: SandboxContext): Promise<void> {
  const { granted } = sb.journal.record;
  if (!granted || !sb.guest.isConnected || granted.memoryBytes <= targetFor(sb.journal.record).target.memoryBytes) return;
  await refit(sb);
}
