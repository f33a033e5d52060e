import { acquireFileLock, type FileLock } from "../base/file-lock.ts";
import type { SandboxConfig } from "../config/sandbox-config.ts";
import type { BootAssets } from "../contracts/guest.ts";
import type { Call } from "../contracts/holding.ts";
import type { EngineContext } from "../engine/context.ts";
import { buildTemplate } from "./build.ts";
import { isThere, makeTemplatesDirectory } from "./files.ts";
import { type TemplateKey, templateKey } from "./key.ts";
import { prune } from "./prune.ts";

/** The template for sandboxes of this configuration. One that is not there is built: once, whoever else needs it waits for that. */
export async function findTemplate(engine: EngineContext, config: SandboxConfig, boot: BootAssets, call: Call): Promise<TemplateKey> {
  const template = await templateKey(engine, config, boot, call);
  await makeTemplatesDirectory(engine.templates.directory); // before one is looked for: in a stranger's directory it would be a stranger's
  if (await isThere(engine.templates.directory, template.key)) return template;
  const lock = await takeLock(engine, template, call);
  try {
    if (await isThere(engine.templates.directory, template.key)) return template;
    await buildTemplate(engine, template, { config, boot }, call);
  } finally {
    await lock.release();
  }
  await prune(engine, template.key);
  return template;
}

/** A lock that is granted when nobody waits for it any more is given back. */
async function takeLock({ templates }: EngineContext, { key }: TemplateKey, { signal }: Call): Promise<FileLock> {
  const lock = await acquireFileLock(templates.directory, key, signal);
  if (signal.aborted) await lock.release();
  return lock;
}
