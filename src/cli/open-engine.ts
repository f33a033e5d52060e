import { createEngine } from "../engine/create-engine.ts";
import type { Engine } from "../engine/engine.ts";
import { ownPackage } from "./own-modules.ts";
import { registerScriptHooks } from "./script-hooks.ts";

/** The options that say which engine is meant. */
export interface EngineFlags {
  readonly config?: string;
  readonly root?: string;
}

/** Runs one command's work on the engine that a script in this directory would get, and closes it. */
export async function withEngine(flags: EngineFlags, work: (engine: Engine) => Promise<number>): Promise<number> {
  registerScriptHooks(ownPackage(import.meta.url)); // a configuration may list plugins written in TypeScript
  const { config, root } = flags;
  await using engine = await createEngine({ ...(config !== undefined && { config }), ...(root !== undefined && { root }) });
  return await work(engine);
}
