import { chmod, mkdir, realpath, rename, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { type Call, errnoOf, formatBytes, GiB, isTapvisorError, MiB, type RootfsGrant, TapvisorError } from "tapvisor/plugin";
import { lookAtDirectory, unusableDirectory } from "./directory-source.ts";
import { systemReason } from "./errors.ts";
import { type Measure, measure } from "./measure.ts";
import { endMakingErofs, makeErofs } from "./mkfs.ts";

const HALF = "image.part";
/** From here on holes are worth the longer way, which keeps them. */
const MANY_HOLES = 64 * MiB;
/** Holes are read as zeros, a GiB in 4 s: what has more (the sparse log of logins of a large user id, a core file) takes for ever. */
const MOST_HOLES = 64 * GiB;
/** Inode, name and alignment, generously. */
const ENTRY_BYTES = 128;

/**
 * Copies a directory to an image in `place`, a directory of its own that is made here. A failure leaves `place` to be removed.
 * The image gets its name when it is whole.
 */
export async function buildImage(path: string, place: string, stateDirectory: string, call: Call): Promise<RootfsGrant> {
  const started = performance.now();
  const directory = await lookAtDirectory(path, stateDirectory);
  const found = await measure(directory, call.signal).catch((error: NodeJS.ErrnoException) => {
    throw isTapvisorError(error) || !errnoOf(error) ? error : unusableDirectory(path, systemReason(String(error.path), error));
  });
  refuseHoles(path, found);
  await removeImage(place, call.signal); // of a container of this name whose maker died
  await mkdir(place, { recursive: true, mode: 0o700 });
  await refuseTooLarge(directory, found, place);
  call.log.info({ directory, entries: found.entries, bytes: found.bytes }, "copying the rootfs to a disk image");
  const [half, whole] = [join(place, HALF), join(place, "image.erofs")];
  await makeErofs(half, directory, holesOf(found) >= MANY_HOLES, call);
  await chmod(half, 0o400);
  await rename(half, whole);
  const image = await realpath(whole);
  const { size } = await stat(image);
  call.log.info({ directory, bytes: size, ms: Math.round(performance.now() - started) }, "copied the rootfs to a disk image");
  return { type: "block", path: image, format: "raw", fstype: "erofs", extra: { bytes: size } };
}

/** Removes an image, whole or half, and ends the program that makes it. None is success. */
export async function removeImage(place: string, signal: AbortSignal): Promise<void> {
  await endMakingErofs(join(place, HALF), signal);
  await rm(place, { recursive: true, force: true });
}

function holesOf({ bytes, allocated }: Measure): number {
  return bytes - allocated;
}

function refuseHoles(path: string, found: Measure): void {
  if (holesOf(found) <= MOST_HOLES) return;
  const { sparsest } = found;
  const text = `${JSON.stringify(sparsest.path)} has ${formatBytes(sparsest.holes)} of holes, at most ${formatBytes(MOST_HOLES)} can be copied`;
  throw unusableDirectory(path, { found: text, hint: "remove the sparse file, or share the directory instead of copying it" });
}

async function refuseTooLarge(directory: string, found: Measure, place: string): Promise<void> {
  const { bavail, bsize } = await statfs(place);
  const wanted = (holesOf(found) >= MANY_HOLES ? found.allocated : found.bytes) + found.entries * ENTRY_BYTES;
  const available = bavail * bsize;
  if (wanted <= available) return;
  const text = `Cannot copy ${directory} to a disk image: it needs ${formatBytes(wanted)}, ${place} has ${formatBytes(available)} left`;
  throw new TapvisorError("HOST_LIMIT", text, {
    data: { what: `disk space in ${place}`, wanted, available },
    hint: "make room, or use an engine root on a larger disk",
  });
}
