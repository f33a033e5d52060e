import { stat } from "node:fs/promises";
import { readOwnPackage } from "../base/own-package.ts";
import type { BootAssets } from "../contracts/guest.ts";
import type { Call, Json } from "../contracts/holding.ts";
import type { EngineContext } from "../engine/context.ts";

let ownVersion: string | undefined;

/** What a saved VM can go on with: where any of it is another one, it is not used. By name, so that an error can say which. */
export async function savedOn(engine: EngineContext, boot: BootAssets, call: Call): Promise<Readonly<Record<string, Json>>> {
  const hypervisor = await engine.slot("hypervisor");
  ownVersion ??= readOwnPackage(import.meta.url).manifest.version;
  return {
    tapvisor: ownVersion,
    hypervisor: { name: engine.providers.hypervisor, of: (await hypervisor.fingerprint?.(call)) ?? null },
    agent: engine.providers.agent,
    guest: await guestInputs(boot),
  };
}

/** What a guest boots, its files told by size, place and time. */
async function guestInputs({ kernel, initrd, image, ...words }: BootAssets): Promise<Json> {
  const files = await Promise.all([kernel, initrd, image].map(async (file) => (file === undefined ? null : stampOf(file))));
  return { ...(words as unknown as { readonly [key: string]: Json }), files };
}

/** A file that has been written to or replaced is another one. */
async function stampOf(path: string): Promise<Json> {
  const found = await stat(path, { bigint: true }).catch(() => undefined); // a guest of a world in memory has no files
  return found ? { path, bytes: String(found.size), inode: String(found.ino), modified: String(found.mtimeNs) } : { path };
}
