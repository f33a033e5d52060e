import { messageOf } from "../base/errors.ts";
import { Mutex } from "../base/mutex.ts";
import type { VmExit } from "../contracts/hypervisor.ts";
import type { EngineContext, SandboxContext } from "../engine/context.ts";
import { Holders } from "../engine/holders.ts";
import type { Journal } from "../engine/journal.ts";
import { GuestLink } from "./guest-link.ts";
import { ownHoldings } from "./own-holdings.ts";
import { reconcile } from "./reconcile.ts";

/** Puts together what a sandbox's verbs work on. */
export function sandboxContext(engine: EngineContext, journal: Journal): SandboxContext {
  const { id } = journal.record;
  const log = engine.log.child({ sandbox: id });
  const guest = new GuestLink(engine, id, {
    onVmExit: (exit) => void onVmExit(sb, exit),
    onAgentLost: (error) => void engine.hooks.observe("agentLost", { sandbox: id, error }),
  });
  const { hooks, late, probe, releaseTimeoutMs } = engine;
  const holders = new Holders(
    engine.host.slots,
    ownHoldings(guest, engine.releaseTimeoutMs, () => sb),
  );
  const sb: SandboxContext = {
    engine,
    id,
    journal,
    holders,
    hooks,
    guest,
    processes: new Map(),
    mutex: new Mutex(),
    log,
    late,
    probe,
    releaseTimeoutMs,
  };
  return sb;
}

/** A VM that ends unasked is told to the hooks, and what it held is given back. */
async function onVmExit(sb: SandboxContext, { expected, exitCode, signal }: VmExit): Promise<void> {
  if (expected) return;
  await sb.hooks.observe("vmExited", { sandbox: sb.id, exitCode, signal });
  await reconcile(sb).catch((error) => sb.log.error({ reason: messageOf(error) }, "could not give back everything of a VM that has died"));
}
