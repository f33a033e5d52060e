import { TapvisorError } from "../base/errors.ts";
import { isAlive } from "../base/process-identity.ts";
import type { EngineContext } from "../engine/context.ts";
import { Journal } from "../engine/journal.ts";

/** The journal of a stored sandbox. @throws NOT_FOUND listing those there are, STATE_CORRUPT. */
export async function openJournal(engine: EngineContext, id: string): Promise<Journal> {
  const journal = await Journal.open(engine.store, id);
  if (journal) return journal;
  const known = await engine.store.list();
  throw new TapvisorError("NOT_FOUND", `Cannot find sandbox "${id}": there is ${known.join(", ") || "none"}`, {
    data: { kind: "sandbox", id, known },
    hint: `sandboxes are looked for below ${engine.root}`,
  });
}

/** What an engine has in its hands: a record names only the process. */
export interface Hands {
  /** Whether it has the sandbox, or is making it. */
  holds(sandbox: string): boolean;
}

/** Whether this engine or another live process has this sandbox. Other engines of this process are not asked. */
export async function isHeld({ record: { id, owner } }: Journal, hands: Hands): Promise<boolean> {
  if (owner === null) return false;
  return owner.pid === process.pid ? hands.holds(id) : isAlive(owner);
}
