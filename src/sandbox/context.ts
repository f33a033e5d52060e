import { Mutex } from "../base/mutex.ts";
import type { EngineContext, SandboxContext } from "../engine/context.ts";
import { Holders } from "../engine/holders.ts";
import type { Journal } from "../engine/journal.ts";
import { GuestLink, type LinkEvents } from "./guest-link.ts";
import { ownHoldings } from "./own-holdings.ts";

/** Puts together what a sandbox's verbs work on. */
export function sandboxContext(engine: EngineContext, journal: Journal): SandboxContext {
  const { id } = journal.record;
  const log = engine.log.child({ sandbox: id });
  const guest = new GuestLink(engine, id, linkEvents(engine, id));
  const holders = new Holders(engine.host.slots, ownHoldings(guest));
  return {
    engine,
    id,
    journal,
    holders,
    hooks: engine.hooks,
    guest,
    processes: new Map(),
    mutex: new Mutex(),
    log,
    probe: engine.probe,
    releaseTimeoutMs: engine.releaseTimeoutMs,
  };
}

function linkEvents(engine: EngineContext, sandbox: string): LinkEvents {
  return {
    onVmExit: ({ expected, exitCode, signal }) => {
      if (!expected) void engine.hooks.observe("vmExited", { sandbox, exitCode, signal });
    },
    onAgentLost: (error) => void engine.hooks.observe("agentLost", { sandbox, error }),
  };
}
