import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, posix, resolve } from "node:path";
import { messageOf } from "../base/errors.ts";
import type { Container } from "../container/container.ts";
import { CliError } from "./cli-error.ts";
import { EXIT } from "./exit-codes.ts";

export interface CopyInOptions {
  readonly owners: boolean;
  readonly signal: AbortSignal;
}

/**
 * Copies a file or a directory of the host into a container. Into a directory that is there it goes under its own name, otherwise it gets the name `target`;
 * of a directory that is named with `/.` at its end only what is in it.
 */
export async function copyIn({ files }: Pick<Container, "files">, source: string, target: string, options: CopyInOptions): Promise<void> {
  const found = await stat(source).catch((error: unknown) => {
    throw new CliError(EXIT.usage, `Cannot copy "${source}": ${messageOf(error)}`);
  });
  const { owners, signal } = options;
  const into = await isDirectory({ files }, target, signal);
  if (found.isDirectory()) {
    const name = source.endsWith("/.") || source === "." ? "" : basename(resolve(source));
    return files.upload(source, into ? posix.join(target, name) : target, { owners, signal });
  }
  if (!found.isFile()) throw new CliError(EXIT.usage, `Cannot copy "${source}": it is neither a file nor a directory`);
  if (!into && target.endsWith("/")) throw new CliError(EXIT.usage, `Cannot copy to "${target}": the container has no such directory`);
  const owner = owners ? { uid: found.uid, gid: found.gid } : {};
  const path = into ? posix.join(target, basename(source)) : target;
  await files.write(path, createReadStream(source, { signal }), { mode: found.mode & 0o777, ...owner, signal });
}

async function isDirectory({ files }: Pick<Container, "files">, path: string, signal: AbortSignal): Promise<boolean> {
  return (await files.exists(path, { signal })) && (await files.stat(path, { signal })).type === "directory";
}
