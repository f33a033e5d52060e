import { readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf } from "../base/errors.ts";
import { sweepFileLocks } from "../base/file-lock.ts";
import { newId } from "../base/ids.ts";
import type { EngineContext } from "../engine/context.ts";
import { filesIn, listKeys, placeOf, workPlaceOf } from "./files.ts";

/** The sandboxes that went on from a template and have not given it back. */
export async function usersOf(directory: string): Promise<string[]> {
  const names = await readdir(filesIn(directory).users).catch((error) => {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  });
  return names.filter((name) => !name.endsWith(".memory"));
}

/** Removes the templates that no sandbox uses but the newest few, and never `built`. */
export async function prune({ templates }: EngineContext, built: string): Promise<void> {
  const unused: { readonly key: string; readonly used: number }[] = [];
  for (const key of await listKeys(templates.directory)) {
    const directory = placeOf(templates.directory, key);
    if (key === built || (await usersOf(directory)).length > 0) continue;
    const found = await stat(filesIn(directory).users).catch(() => undefined);
    unused.push({ key, used: found?.mtimeMs ?? 0 });
  }
  unused.sort((a, b) => b.used - a.used);
  for (const { key } of unused.slice(Math.max(0, templates.keep - 1))) await removeTemplateFiles(templates.directory, key);
}

/** Takes a template away in one step; a VM that goes on from it keeps its memory, which goes with the last of them. Not there is success. */
export async function removeTemplateFiles(templates: string, key: string): Promise<void> {
  const away = workPlaceOf(templates, newId("removed"));
  try {
    await rename(placeOf(templates, key), away);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return;
    throw error;
  }
  await rm(away, { recursive: true, force: true });
}

/** Takes away what processes have left that died while they removed a template or held its lock; what one left that died building it is a sandbox's. */
export async function sweepTemplates(templates: string): Promise<void> {
  const names = await readdir(templates).catch(() => []);
  await sweepFileLocks(templates);
  for (const name of names) if (name.startsWith(".work-removed-")) await rm(join(templates, name), { recursive: true, force: true });
}
