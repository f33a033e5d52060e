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

/** Whether another live process has this sandbox in its hands. */
export async function isHeldElsewhere(journal: Journal): Promise<boolean> {
  const { owner } = journal.record;
  return owner !== null && owner.pid !== process.pid && (await isAlive(owner));
}
