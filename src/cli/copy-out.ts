import { randomBytes } from "node:crypto";
import { createWriteStream } from "node:fs";
import { realpath, rename, rm, stat } from "node:fs/promises";
import { basename, join, posix } from "node:path";
import { pipeline } from "node:stream/promises";
import { TapvisorError } from "../base/errors.ts";
import { formatBytes, GiB } from "../base/units.ts";
import type { Container } from "../container/container.ts";
import { CliError } from "./cli-error.ts";
import { EXIT } from "./exit-codes.ts";

/** The most that one file may have, bytes, as a whole directory: the guest says how long it is, and could say anything. */
const MOST_BYTES = 4 * GiB;

/**
 * Copies a file or a directory out of a container. Into a directory that is there it goes under its own name, otherwise it gets the name `target`; of a
 * directory that is named with `/.` at its end only what is in it. Nothing of it is set-user-id here.
 */
export async function copyOut({ files }: Pick<Container, "files">, source: string, target: string, signal: AbortSignal): Promise<void> {
  const { type, size, mode } = await files.stat(source, { signal });
  const there = await stat(target).catch(() => undefined);
  const name = source.endsWith("/.") ? "" : basename(posix.resolve(source));
  const path = there?.isDirectory() ? join(target, name) : target;
  if (type === "directory") return files.download(source, path, { signal });
  if (type !== "file") throw new CliError(EXIT.usage, `Cannot copy "${source}": it is a ${type}, wanted a file or a directory`);
  if (!there && target.endsWith("/")) throw new CliError(EXIT.usage, `Cannot copy to "${target}": there is no such directory`);
  if (size > MOST_BYTES) throw tooLong(source, size);
  const place = await placeOf(path);
  const partial = `${place}.${randomBytes(6).toString("hex")}.part`;
  try {
    // Nobody sees half of it, and what is not finished goes.
    await pipeline(
      files.readStream(source, { length: MOST_BYTES, signal }),
      createWriteStream(partial, { flags: "wx", mode: mode & 0o777 }),
      {
        signal,
      },
    );
    await rename(partial, place);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

/** Where the file is to be: a link is followed, and only a file is replaced. */
async function placeOf(path: string): Promise<string> {
  const there = await stat(path).catch(() => undefined);
  if (!there) return path;
  if (there.isFile()) return realpath(path);
  throw new CliError(EXIT.usage, `Cannot copy to "${path}": it is there and no file`);
}

function tooLong(source: string, size: number): TapvisorError<"GUEST_PROTOCOL"> {
  return new TapvisorError(
    "GUEST_PROTOCOL",
    `Cannot take "${source}" from the container: it has ${formatBytes(size)}, more than ${formatBytes(MOST_BYTES)}`,
    {
      data: { what: "a file of the container" },
      hint: "take it as an archive: tapvisor cp box/web:/file - | tar -x",
    },
  );
}
