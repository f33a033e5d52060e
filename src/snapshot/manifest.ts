import { readFile, rename, stat, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { errnoOf, messageOf, TapvisorError } from "../base/errors.ts";
import { type FileSum, sumOf } from "../base/file-sum.ts";
import type { Call, Json } from "../contracts/holding.ts";
import type { EngineContext } from "../engine/context.ts";
import { savedOn } from "../template/saved-on.ts";
import type { SnapshotFiles } from "./files.ts";
import type { SavedDisk, Snapshot } from "./snapshot.ts";

const VERSION = 1;

interface Manifest extends Omit<Snapshot, "state" | "disks"> {
  readonly version: typeof VERSION;
  readonly created: string;
  readonly state: FileSum;
  readonly disks: readonly (SavedDisk & { readonly is?: FileSum })[];
  /** What it can go on with: names of what is compared, and what each was. */
  readonly on: Readonly<Record<string, Json>>;
}

/** Writes what the files of a snapshot are, last of all: a directory without it is no snapshot. Copies are named from the directory, which can be moved. */
export async function writeManifest(files: SnapshotFiles, { state, disks, ...snapshot }: Snapshot, on: Manifest["on"]): Promise<void> {
  const described = await Promise.all(
    disks.map(async (disk) => {
      if (disk.copy === undefined) return { ...disk, is: await sumOf(disk.path) };
      return { ...disk, copy: relative(files.directory, disk.copy), is: await sumOf(disk.copy) };
    }),
  );
  const manifest: Manifest = {
    version: VERSION,
    created: new Date().toISOString(),
    ...snapshot,
    state: await sumOf(state),
    disks: described,
    on,
  };
  const draft = `${files.manifest}.tmp`;
  await writeFile(draft, `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600, flush: true });
  await rename(draft, files.manifest);
}

/**
 * Reads a snapshot and holds its files against what they were.
 * @throws NOT_FOUND when the directory holds none; SNAPSHOT_UNUSABLE naming the file that is another one, or what differs from where it was taken.
 */
export async function readSnapshot(engine: EngineContext, files: SnapshotFiles, call: Call): Promise<Snapshot> {
  const { version: _, created: __, state, disks, on, ...snapshot } = await readManifest(files);
  const here = await savedOn(engine, snapshot.boot, call);
  for (const [name, was] of Object.entries(on)) {
    if (JSON.stringify(was) !== JSON.stringify(here[name]))
      throw unusable(files.directory, `the ${name} is another one`, { was, is: here[name] ?? null });
  }
  const placed = disks.map(({ copy, ...disk }) => ({ ...disk, ...(copy !== undefined && { copy: join(files.directory, copy) }) }));
  await checkSum(files, files.state, state);
  for (const { path, copy, is } of placed) if (is) await checkSum(files, copy ?? path, is);
  return { ...snapshot, state: files.state, disks: placed.map(({ is: _, ...disk }) => disk) };
}

async function readManifest(files: SnapshotFiles): Promise<Manifest> {
  let text: string;
  try {
    text = await readFile(files.manifest, "utf8");
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw unusable(files.manifest, messageOf(error));
    throw new TapvisorError("NOT_FOUND", `Cannot find a snapshot in "${files.directory}"`, {
      data: { kind: "snapshot", id: files.directory },
    });
  }
  try {
    const manifest = JSON.parse(text) as Manifest;
    if (manifest.version === VERSION) return manifest;
  } catch {
    // says the same as one of another version
  }
  throw unusable(files.manifest, `it is no manifest of version ${VERSION}`);
}

async function checkSum(files: SnapshotFiles, file: string, { bytes, sha256 }: FileSum): Promise<void> {
  const found = await stat(file).catch((error: unknown) => {
    throw unusable(files.directory, `${file}: ${errnoOf(error) === "ENOENT" ? "it is not there" : messageOf(error)}`);
  });
  if (found.size !== bytes) throw unusable(files.directory, `${file}: it has ${found.size} bytes, wanted ${bytes}`);
  if ((await sumOf(file)).sha256 !== sha256) throw unusable(files.directory, `${file}: its content is another one`);
}

function unusable(snapshot: string, reason: string, differs?: { readonly was: Json; readonly is: Json }): TapvisorError {
  return new TapvisorError("SNAPSHOT_UNUSABLE", `Cannot use the snapshot "${snapshot}": ${reason}`, {
    data: { snapshot, reason, ...(differs && { differs }) },
    hint: differs ? "a saved VM goes on only on what it was saved on: the same QEMU, guest and release" : "take it anew",
  });
}
