import type { Stats } from "node:fs";
import { lstat } from "node:fs/promises";
import { join, posix } from "node:path";
import { errnoOf, TapvisorError } from "../../base/errors.ts";
import { formatBytes, MiB } from "../../base/units.ts";
import type { FileAttributes, FilePlace } from "../../contracts/agent-files.ts";
import type { Call } from "../../contracts/holding.ts";
import type { SandboxContext } from "../../engine/context.ts";
import { guestRootfsOf } from "../../sandbox/paths.ts";
import { containerRecord } from "../state.ts";

/** The whole file has to be here first, bytes: the protocol wants its length with its first byte. */
const LONGEST = 64 * MiB;
/** What an agent writes to until the last byte has come, beside the file. */
const SUFFIX = ".tmp";
/** Covered in every container by file systems of its own. */
const COVERED = ["/proc", "/dev", "/sys"];

/**
 * Writes a file into a container that has not been started, by the protocol's own `CopyFile`, which every Kata agent serves.
 *
 * That call takes a path of the guest and not of a container, follows links where the guest has them, does not see what is mounted in the container, and writes
 * to a neighbour of the file first; nothing of the protocol looks, removes or makes a link. So it is used only where all of this is known: no process of the
 * container has run, and what the path names is looked up on the host, in the directory that the container's own layer lies over.
 * @throws UNSUPPORTED where it is not known; NOT_FOUND, FILE_FAILED.
 */
export async function copyBeforeStart(
  sb: SandboxContext,
  { container, path }: Pick<FilePlace, "container" | "path">,
  content: Buffer,
  { mode, uid, gid }: FileAttributes,
  call: Call,
): Promise<void> {
  const { there, plain } = await lookUp(sb, container, path);
  const file = {
    path: posix.join(guestRootfsOf(container), plain),
    mode: mode ?? (there ? there.mode & 0o7777 : 0o644),
    directoryMode: 0o755,
    uid: uid ?? there?.uid ?? 0,
    gid: gid ?? there?.gid ?? 0,
  };
  const { client } = sb.guest;
  // What is left of a copy that failed is longer than this one, perhaps, and would be its end: an empty file takes it away.
  await client.copyFile({ ...file, bytes: 0 }, [], call);
  await client.copyFile({ ...file, bytes: content.length }, [content], call);
}

/** All of what is to be written. @throws FILE_FAILED EFBIG. */
export async function gather(path: string, pieces: AsyncIterable<{ readonly piece: Uint8Array }>): Promise<Buffer> {
  const gathered: Uint8Array[] = [];
  let length = 0;
  for await (const { piece } of pieces) {
    gathered.push(piece);
    length += piece.length;
    if (length > LONGEST)
      throw failed(
        "EFBIG",
        path,
        `it is longer than ${formatBytes(LONGEST)}, the most that a guest without our service for files is given`,
      );
  }
  return Buffer.concat(gathered, length);
}

/** What the host has at the path, and the path without "." and "..". */
async function lookUp(
  sb: SandboxContext,
  container: string,
  path: string,
): Promise<{ readonly there: Stats | undefined; readonly plain: string }> {
  const { state, config } = containerRecord(sb, container);
  const { source, access } = config.rootfs;
  if (state !== "ready") throw notHere(path, "the container has been started, and its processes could lead the guest's agent elsewhere");
  if (source.kind !== "directory" || access !== "copy-on-write")
    throw notHere(path, "only of a root file system that is a directory of the host, copied on write, is it known what the path names");
  const plain = posix.normalize(path);
  const covering = [...COVERED, ...config.mounts.map(({ target }) => target)].find((target) => isBelow(plain, target));
  if (covering !== undefined) throw notHere(path, `what is mounted at ${JSON.stringify(covering)} covers it`);
  const parts = plain.split("/").filter(Boolean);
  const name = parts.pop();
  if (name === undefined || path.endsWith("/")) throw failed("EISDIR", path, "it is a directory");
  let at = source.path;
  for (const part of parts) {
    at = join(at, part);
    const found = await look(at);
    if (!found) throw missing(path);
    if (found.isSymbolicLink())
      throw notHere(path, `${JSON.stringify(part)} on its way is a link, which the guest's agent would follow out of the container`);
    if (!found.isDirectory()) throw failed("ENOTDIR", path, `${JSON.stringify(part)} on its way is no directory`);
  }
  const there = await look(join(at, name));
  if (there?.isDirectory()) throw failed("EISDIR", path, "it is a directory");
  if (there && !there.isFile()) throw notHere(path, "it is a link or a special file");
  if (await look(join(at, `${name}${SUFFIX}`))) throw notHere(path, `there is a "${name}${SUFFIX}" beside it, which would be lost`);
  return { there, plain };
}

async function look(path: string): Promise<Stats | undefined> {
  return lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  });
}

function isBelow(path: string, target: string): boolean {
  const top = posix.normalize(target).replace(/\/$/, "");
  return path === top || path.startsWith(`${top}/`);
}

function notHere(path: string, why: string): TapvisorError<"UNSUPPORTED"> {
  return new TapvisorError(
    "UNSUPPORTED",
    `Cannot write ${JSON.stringify(path)}: the guest's agent has no calls for files of a container, and ${why}`,
    {
      data: { what: "files of a container", by: "the guest's agent" },
      hint: "write it between createContainer() and start(), mount a directory of the host, or run a command in the container",
    },
  );
}

function missing(path: string): TapvisorError<"NOT_FOUND"> {
  return new TapvisorError("NOT_FOUND", `Cannot write ${JSON.stringify(path)}: there is no such directory`, {
    data: { kind: "file", id: path, known: [] },
  });
}

function failed(errno: string, path: string, why: string): TapvisorError<"FILE_FAILED"> {
  return new TapvisorError("FILE_FAILED", `Cannot write ${JSON.stringify(path)}: ${why}`, { data: { path, errno } });
}
