import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** The files of a built guest, in the cache. Absolute paths. */
export interface GuestFiles {
  readonly directory: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly image: string;
}

const MANIFEST = "manifest.json";

export function filesIn(directory: string): GuestFiles {
  return {
    directory,
    kernel: join(directory, "vmlinuz"),
    initrd: join(directory, "initrd.cpio"),
    image: join(directory, "image.erofs"),
  };
}

type Manifest = Readonly<Record<"kernel" | "initrd" | "image", { readonly bytes: number; readonly sha256: string }>>;

/** Writes what the files must be, last of all: an entry without a manifest is no entry. Everything is on disk when it resolves. */
export async function sealEntry(files: GuestFiles): Promise<void> {
  const manifest = { kernel: await describe(files.kernel), initrd: await describe(files.initrd), image: await describe(files.image) };
  const path = join(files.directory, MANIFEST);
  await writeFile(path, `${JSON.stringify(manifest, null, 2)}\n`);
  for (const each of [files.kernel, files.initrd, files.image, path]) await flush(each);
}

/** Whether an entry's files have the sizes of its manifest: quick enough for each start, finds what a full disk or a crash leaves. */
export async function isWhole(files: GuestFiles): Promise<boolean> {
  const manifest = await readManifest(files);
  if (manifest === undefined) return false;
  const sizes = await Promise.all(
    (["kernel", "initrd", "image"] as const).map(
      async (name) => (await stat(files[name]).catch(() => undefined))?.size === manifest[name]?.bytes,
    ),
  );
  return sizes.every(Boolean);
}

/** Whether an entry's files have the content of its manifest: reads them all, for the doctor. */
export async function isUndamaged(files: GuestFiles): Promise<boolean> {
  const manifest = await readManifest(files);
  if (manifest === undefined) return false;
  for (const name of ["kernel", "initrd", "image"] as const) {
    const found = await describe(files[name]).catch(() => undefined);
    if (found?.sha256 !== manifest[name]?.sha256) return false;
  }
  return true;
}

async function readManifest(files: GuestFiles): Promise<Partial<Manifest> | undefined> {
  try {
    return JSON.parse(await readFile(join(files.directory, MANIFEST), "utf8")) as Partial<Manifest>;
  } catch {
    return undefined;
  }
}

async function describe(path: string): Promise<{ bytes: number; sha256: string }> {
  const digest = createHash("sha256");
  let bytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    digest.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return { bytes, sha256: digest.digest("hex") };
}

async function flush(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.datasync();
  } finally {
    await handle.close();
  }
}
