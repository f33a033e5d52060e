import { type LeftHolding, TapvisorError } from "../base/errors.ts";
import { terminate } from "../container/terminate.ts";
import type { Holding } from "../contracts/holding.ts";
import type { SandboxContext } from "../engine/context.ts";
import { releaseHoldings } from "../engine/release.ts";
import { exclusively } from "./exclusively.ts";
import { moveSandbox, requireSandbox } from "./state.ts";

export interface StopOptions {
  /** Kill at once, ask the guest nothing: works when the VM or the guest is dead. `false` by default. */
  readonly force?: boolean;
  /** How long each container gets between SIGTERM and SIGKILL, ms; 10 000 by default. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Stops containers, guest and VM and gives back everything; `stopped` is stored last. Stopped already is success. */
export function stopSandbox(sb: SandboxContext, options: StopOptions): Promise<void> {
  return exclusively(sb, options.signal, () => stopSandboxLocked(sb, options));
}

export async function stopSandboxLocked(sb: SandboxContext, options: StopOptions): Promise<void> {
  const { record } = sb.journal;
  if (record.state === "stopped" || record.state === "failed") return void (await sb.journal.saveIfStale());
  requireSandbox(sb, "stop the sandbox", "ready", "running", "paused");
  const force = options.force ?? false;
  await sb.hooks.amend("beforeStop", { sandbox: sb.id, force });
  if (!force) await stopContainers(sb, options);
  await releaseSandbox(sb, force);
  for (const container of Object.values(record.containers)) {
    if (container.state !== "failed") container.state = "stopped";
  }
  await moveSandbox(sb, "stopped");
  await sb.hooks.notify("afterStop", { sandbox: sb.id, force });
}

async function stopContainers(sb: SandboxContext, options: StopOptions): Promise<void> {
  if (sb.journal.record.state === "paused") await sb.guest.vm?.resume({ signal: AbortSignal.timeout(10_000), log: sb.log });
  const running = Object.values(sb.journal.record.containers).filter(({ state }) => state === "running" || state === "paused");
  await Promise.all(running.map((container) => terminate(sb, container.id, options)));
}

/** Releases all that the sandbox holds. By force the VM goes first, and nothing in it is asked. @throws RELEASE_INCOMPLETE naming what is left. */
export async function releaseSandbox(sb: SandboxContext, force: boolean): Promise<void> {
  sb.guest.beginEnd();
  if (force) {
    sb.guest.forsake();
    await releaseHoldings(sb, (holding) => holding.kind === "vm");
  }
  const { left } = await releaseHoldings(sb, () => true);
  await sb.guest.disconnect();
  delete sb.journal.record.granted;
  if (left.length > 0) {
    await moveSandbox(sb, "failed");
    throw releaseIncomplete(sb.id, left);
  }
}

export function releaseIncomplete(id: string, left: readonly LeftHolding[]): TapvisorError {
  const names = left.map((each) => `${each.step} (${each.reason})`).join(", ");
  return new TapvisorError("RELEASE_INCOMPLETE", `Cannot give back everything of "${id}": left are ${names}`, {
    data: { id, left },
    hint: "the record stays; delete it again, or run `tapvisor gc`, when the cause is mended",
  });
}

export function isOf(container: string): (holding: Holding) => boolean {
  return (holding) => holding.container === container;
}
