import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { readOwnPackage } from "../base/own-package.ts";
import { currentBootId } from "../base/process-identity.ts";
import type { SandboxConfig } from "../config/sandbox-config.ts";
import type { BootAssets } from "../contracts/guest.ts";
import type { Call, Json } from "../contracts/holding.ts";
import type { EngineContext } from "../engine/context.ts";

/** Everything that a template depends on, and the hash by which it is found: where anything differs there is another template. */
export interface TemplateKey {
  readonly key: string;
  readonly group: string;
  readonly inputs: Json;
}

/** The group of those who give no name. */
const EVERYONE = "default";

let ownVersion: string | undefined;

/** The key of the template that a sandbox of this configuration goes on from. */
export async function templateKey(engine: EngineContext, config: SandboxConfig, boot: BootAssets, call: Call): Promise<TemplateKey> {
  const hypervisor = await engine.slot("hypervisor");
  const { vcpus, memoryBytes, limits } = config;
  const group = typeof config.template === "string" ? config.template : EVERYONE;
  ownVersion ??= readOwnPackage(import.meta.url).manifest.version;
  const inputs: Json = {
    tapvisor: ownVersion,
    group,
    hypervisor: { name: engine.providers.hypervisor, of: (await hypervisor.fingerprint?.(call)) ?? null },
    agent: engine.providers.agent,
    guest: await guestInputs(boot),
    vcpus,
    memoryBytes,
    limits: { ...limits },
    // After a crash of the host a file may hold less than what was written to it.
    hostBoot: currentBootId(),
  };
  return { key: createHash("sha256").update(JSON.stringify(inputs)).digest("hex"), group, inputs };
}

/** What a guest boots, its files told by size, place and time. */
export async function guestInputs({ kernel, initrd, image, ...words }: BootAssets): Promise<Json> {
  const files = await Promise.all([kernel, initrd, image].map(async (file) => (file === undefined ? null : stampOf(file))));
  return { ...(words as unknown as { readonly [key: string]: Json }), files };
}

/** A file that has been written to or replaced is another one. */
async function stampOf(path: string): Promise<Json> {
  const found = await stat(path, { bigint: true }).catch(() => undefined); // a guest of a world in memory has no files
  return found ? { path, bytes: String(found.size), inode: String(found.ino), modified: String(found.mtimeNs) } : { path };
}
