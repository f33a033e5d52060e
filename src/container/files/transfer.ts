import { mkdir, stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { packTar, unpackTar } from "modern-tar/fs";
import { isTapvisorError, messageOf, TapvisorError } from "../../base/errors.ts";
import { formatBytes, GiB } from "../../base/units.ts";
import type { FileAccess } from "./access.ts";
import { archiveEntry, staysInside } from "./archive-entry.ts";
import { checkWhole } from "./check.ts";
import { type TarInOptions, tarIn } from "./tar-in.ts";
import { type TarOptions, tarOut } from "./tar-out.ts";

/** What a directory that comes from a container may have, unless more is asked for: the guest could go on for ever. */
const MOST_BYTES = 4 * GiB;
const MOST_ENTRIES = 1_000_000;

export interface DownloadOptions extends TarOptions {
  /** The most that all files together may have, bytes; 4 GiB by default. */
  readonly maxBytes?: number;
}

/** Copies what is in a directory of the host into one of the container. @throws INVALID_INPUT when the host has no such directory. */
export async function upload(access: FileAccess, directory: string, target: string, options: TarInOptions): Promise<void> {
  const found = await stat(directory).catch((error: unknown) => {
    throw badDirectory(directory, messageOf(error));
  });
  if (!found.isDirectory()) throw badDirectory(directory, "it is no directory");
  const archive = packTar(directory);
  try {
    await tarIn(access, archive, target, { owners: false, ...options });
  } finally {
    archive.destroy();
  }
}

/** Copies what is in a directory of the container into one of the host, which is made when it is not there. Nothing is written anywhere else. */
export async function download(access: FileAccess, source: string, directory: string, options: DownloadOptions): Promise<void> {
  const { maxBytes = MOST_BYTES, ...rest } = options;
  checkWhole("maxBytes", maxBytes);
  const archive = tarOut(access, source, rest);
  await mkdir(directory, { recursive: true });
  let left = maxBytes;
  let entries = 0;
  const unpack = unpackTar(directory, {
    strict: true,
    map: (header) => {
      const entry = archiveEntry(header, refused);
      if (entry.kind === "symlink" && !staysInside(entry.path, entry.target))
        throw refused(header.name, `its link leads to ${JSON.stringify(entry.target)}`);
      left -= header.size;
      if (left < 0) throw tooMuch(`more than ${formatBytes(maxBytes)}`);
      if (++entries > MOST_ENTRIES) throw tooMuch(`more than ${MOST_ENTRIES} entries`);
      return { ...header, mode: (header.mode ?? 0) & 0o777 }; // no program of the guest's runs as its owner here
    },
  });
  try {
    await pipeline(archive, unpack);
  } catch (error) {
    throw isTapvisorError(error) ? error : failedToUnpack(directory, error);
  }
}

function badDirectory(directory: string, why: string): TapvisorError<"INVALID_INPUT"> {
  const wanted = "a directory of the host";
  return new TapvisorError("INVALID_INPUT", `Cannot upload ${JSON.stringify(directory)}: ${why}, wanted ${wanted}`, {
    data: { path: "directory", value: directory, wanted },
  });
}

function refused(name: string, why: string): TapvisorError<"GUEST_PROTOCOL"> {
  return new TapvisorError(
    "GUEST_PROTOCOL",
    `Cannot take ${JSON.stringify(name.slice(0, 256))} from the container: ${why}, outside of the directory`,
    {
      data: { what: "a file of the container" },
      hint: "take what you need with tarOut(), which gives links as they are",
    },
  );
}

function tooMuch(found: string): TapvisorError<"GUEST_PROTOCOL"> {
  return new TapvisorError("GUEST_PROTOCOL", `Cannot take the directory from the container: it has ${found}`, {
    data: { what: "a directory of the container" },
    hint: "allow more with `maxBytes`",
  });
}

function failedToUnpack(directory: string, error: unknown): TapvisorError<"FILE_FAILED"> {
  const errno = String((error as { code?: unknown }).code ?? "EIO");
  return new TapvisorError("FILE_FAILED", `Cannot write to ${JSON.stringify(directory)} on the host: ${messageOf(error)}`, {
    data: { path: directory, errno },
    cause: error,
  });
}
