import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, TapvisorError } from "../base/errors.ts";
import type { Bytes } from "../base/units.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxConfig } from "../config/sandbox-config.ts";
import type { Call } from "../contracts/holding.ts";
import type { EngineContext } from "../engine/context.ts";
import { filesIn, isThere, listKeys, placeOf } from "./files.ts";
import { findTemplate } from "./find.ts";
import { type TemplateManifest, verify } from "./manifest.ts";
import { removeTemplateFiles, usersOf } from "./prune.ts";
import { requireTemplate, whyNone } from "./why-none.ts";

/** A VM that has booted and was saved, from which sandboxes go on. */
export interface Template {
  /** The hash of everything that it depends on. */
  readonly key: string;
  /** `damaged` when a file of it is not as it was saved: it is not used, and `reason` names the file. */
  readonly state: "ready" | "damaged";
  readonly reason?: string;
  /** The name of those who share it. */
  readonly group?: string;
  readonly created?: string;
  readonly vcpus?: number;
  readonly memoryBytes?: Bytes;
  /** What it takes on the host: of its memory what the guest has written. */
  readonly bytes: number;
  /** How many sandboxes have gone on from it and have not ended. */
  readonly users: number;
}

/** The templates of this engine's directory. */
export async function listTemplates({ templates }: EngineContext): Promise<Template[]> {
  const keys = await listKeys(templates.directory);
  const all = await Promise.all(keys.map((key) => describe(templates.directory, key)));
  return all.filter((each) => each !== undefined);
}

/** Builds the template that sandboxes of this configuration go on from, unless it is there. @throws UNSUPPORTED where there can be none. */
export async function makeTemplate(engine: EngineContext, config: SandboxConfig, call: Call): Promise<Template> {
  const boot = await (await engine.slot("guest")).prepare(call, (line) => call.log.info(line));
  const none = await whyNone(engine, config, boot);
  if (none !== undefined) requireTemplate(config.id, { ...config, template: true }, none);
  const { key } = await findTemplate(engine, config, boot, call);
  const made = await describe(engine.templates.directory, key);
  if (made) return made;
  throw notFound(key, []);
}

/**
 * Removes templates by the beginnings of their keys. Sandboxes that went on from one keep running; the next of their kind has it built anew.
 * @throws NOT_FOUND, INVALID_INPUT when a beginning is that of several.
 */
export async function removeTemplates({ templates }: EngineContext, beginnings: readonly string[]): Promise<readonly string[]> {
  const keys = await listKeys(templates.directory);
  const wanted = beginnings.map((beginning) => findKey(keys, beginning));
  for (const key of wanted) await removeTemplateFiles(templates.directory, key);
  return wanted;
}

function findKey(keys: readonly string[], beginning: string): string {
  const found = keys.filter((key) => beginning !== "" && key.startsWith(beginning));
  if (found[0] === undefined) throw notFound(beginning, keys);
  if (found.length === 1) return found[0];
  const wanted = "the beginning of one template's key";
  throw new TapvisorError("INVALID_INPUT", `Cannot remove template ${beginning}: ${found.length} keys begin like that, wanted ${wanted}`, {
    data: { path: "template", value: beginning, wanted },
  });
}

function notFound(id: string, known: readonly string[]): TapvisorError {
  const there = known.map((key) => key.slice(0, 12)).join(", ") || "none";
  return new TapvisorError("NOT_FOUND", `Cannot find template ${JSON.stringify(id)}: there is ${there}`, {
    data: { kind: "template", id, known },
  });
}

async function describe(templates: string, key: string): Promise<Template | undefined> {
  const files = filesIn(placeOf(templates, key));
  const common = { key, bytes: await allocated(files.directory), users: (await usersOf(files.directory)).length };
  let manifest: TemplateManifest;
  try {
    manifest = await verify(files, key);
  } catch (error) {
    return (await isThere(templates, key)) ? { ...common, state: "damaged", reason: messageOf(error) } : undefined;
  }
  const { group, created, vcpus, memoryBytes } = manifest;
  return { ...common, state: "ready", group, created, vcpus, memoryBytes };
}

/** The system counts in blocks of 512 bytes, holes left out. */
async function allocated(directory: string): Promise<number> {
  const names = await readdir(directory).catch(() => []);
  const sizes = await Promise.all(
    names.map(async (name) => ((await stat(join(directory, name)).catch(() => undefined))?.blocks ?? 0) * 512),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** The deadline of a whole build, ms. */
export const BUILD_MS = DEADLINES.template + DEADLINES.prepareGuest;
