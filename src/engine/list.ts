import { messageOf } from "../base/errors.ts";
import { isAlive } from "../base/process-identity.ts";
import type { EngineContext } from "./context.ts";
import { Journal } from "./journal.ts";
import type { State } from "./states.ts";

/** One line of `list()`. */
export interface SandboxSummary {
  readonly id: string;
  /** As recorded; `corrupt` when the record cannot be read, and `reason` says why. */
  readonly state: State | "corrupt";
  readonly created?: string;
  readonly detached?: boolean;
  /** The live process that has it in its hands. */
  readonly owner?: number;
  readonly containers?: number;
  readonly reason?: string;
}

/** Every sandbox with a record below the engine's root, whichever process made it. */
export async function listSandboxes(engine: EngineContext): Promise<SandboxSummary[]> {
  const ids = await engine.store.list();
  const all = await Promise.all(ids.map((id) => summaryOf(engine, id)));
  return all.filter((each) => each !== undefined);
}

async function summaryOf(engine: EngineContext, id: string): Promise<SandboxSummary | undefined> {
  try {
    const record = (await Journal.open(engine.store, id))?.record;
    if (!record) return undefined; // deleted since the listing
    const { state, created, config, owner, containers } = record;
    const held = owner !== null && (await isAlive(owner)) ? { owner: owner.pid } : {};
    return { id, state, created, detached: config.detached, ...held, containers: Object.keys(containers).length };
  } catch (error) {
    return { id, state: "corrupt", reason: messageOf(error) };
  }
}
