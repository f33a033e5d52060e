import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { errnoOf, messageOf, TapvisorError } from "../base/errors.ts";
import { sumOf } from "../base/file-sum.ts";
import type { Bytes } from "../base/units.ts";
import type { Json } from "../contracts/holding.ts";
import type { TemplateFiles } from "./files.ts";

const VERSION = 1;

/** What a template is, and what its files must be. */
export interface TemplateManifest {
  readonly version: typeof VERSION;
  readonly key: string;
  /** The name of those who share it. */
  readonly group: string;
  readonly created: string;
  readonly vcpus: number;
  readonly memoryBytes: Bytes;
  /** Everything it depends on, for a person to compare: the key is the hash of this. */
  readonly inputs: Json;
  readonly memory: Stamp;
  readonly state: Stamp & { readonly sha256: string };
}

/** Tells a file that has been written to, replaced or cut short since: the kernel sets `changed` at each of them, and nobody can set it back. */
interface Stamp {
  readonly bytes: number;
  readonly inode: string;
  /** Nanoseconds since 1970. */
  readonly changed: string;
}

/** Makes the files read-only and writes the manifest: from here on nothing may touch them. */
export async function seal(
  files: TemplateFiles,
  about: Pick<TemplateManifest, "key" | "group" | "vcpus" | "memoryBytes" | "inputs">,
): Promise<void> {
  await chmod(files.state, 0o400);
  await chmod(files.memory, process.geteuid?.() === 0 ? 0o400 : 0o600); // QEMU opens it for writing even where it maps it privately
  const manifest: TemplateManifest = {
    version: VERSION,
    ...about,
    created: new Date().toISOString(),
    memory: await stampOf(files.memory),
    state: { ...(await stampOf(files.state)), sha256: (await sumOf(files.state)).sha256 },
  };
  await writeFile(files.manifest, `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o400 });
}

/**
 * The manifest of a template whose files are what it says. The memory is told by its stamp alone: to read it would take longer than a clone takes.
 * @throws NOT_FOUND when there is none, TEMPLATE_DAMAGED naming the file.
 */
export async function verify(files: TemplateFiles, key: string): Promise<TemplateManifest> {
  const manifest = await readManifest(files, key);
  await checkStamp(key, files.memory, manifest.memory);
  await checkStamp(key, files.state, manifest.state);
  if ((await sumOf(files.state)).sha256 !== manifest.state.sha256) throw damaged(key, files.state, "its content is another one");
  return manifest;
}

async function readManifest(files: TemplateFiles, key: string): Promise<TemplateManifest> {
  let text: string;
  try {
    text = await readFile(files.manifest, "utf8");
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw damaged(key, files.manifest, messageOf(error));
    throw new TapvisorError("NOT_FOUND", `Cannot use template ${key}: it is not there`, {
      data: { kind: "template", id: key },
      hint: "it may just have been removed: try again",
    });
  }
  try {
    const manifest = JSON.parse(text) as TemplateManifest;
    if (manifest.version === VERSION && manifest.key === key) return manifest;
  } catch {
    // says the same as one of another version
  }
  throw damaged(key, files.manifest, `it is no manifest of version ${VERSION} of this template`);
}

async function checkStamp(key: string, file: string, wanted: Stamp): Promise<void> {
  const found = await stampOf(file).catch((error: unknown) => {
    throw damaged(key, file, errnoOf(error) === "ENOENT" ? "it is not there" : messageOf(error));
  });
  if (found.bytes !== wanted.bytes) throw damaged(key, file, `it has ${found.bytes} bytes, wanted ${wanted.bytes}`);
  if (found.inode !== wanted.inode || found.changed !== wanted.changed) throw damaged(key, file, "it has been changed since it was saved");
}

async function stampOf(file: string): Promise<Stamp> {
  const { size, ino, ctimeNs } = await stat(file, { bigint: true });
  return { bytes: Number(size), inode: String(ino), changed: String(ctimeNs) };
}

function damaged(template: string, file: string, reason: string): TapvisorError {
  return new TapvisorError("TEMPLATE_DAMAGED", `Cannot use template ${template}: ${file}: ${reason}`, {
    data: { template, file, reason },
    hint: `remove it, and it is built anew: tapvisor template rm ${template.slice(0, 12)}`,
  });
}
