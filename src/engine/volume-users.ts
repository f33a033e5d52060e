import type { EngineContext } from "./context.ts";
import { isCorrupt, Journal } from "./journal.ts";

/** The sandboxes of which a container uses a volume; one whose record cannot be read might, so it counts. */
export async function sandboxesWith(engine: EngineContext, volume: string): Promise<readonly string[]> {
  const users: string[] = [];
  for (const id of await engine.store.list()) if (await uses(engine, id, volume)) users.push(id);
  return users;
}

async function uses(engine: EngineContext, id: string, volume: string): Promise<boolean> {
  try {
    const containers = Object.values((await Journal.open(engine.store, id))?.record.containers ?? {});
    return containers.some(({ config }) => config.mounts.some((mount) => mount.type === "volume" && mount.volume === volume));
  } catch (error) {
    if (isCorrupt(error)) return true;
    throw error;
  }
}
