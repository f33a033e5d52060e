import { constants, open } from "node:fs/promises";
import type { OciProcess, OciUser } from "tapvisor/plugin";
import { findInRootfs } from "../runtime/find-in-rootfs.ts";
import { StatusError } from "../status.ts";

/** More than /etc/passwd of any system has; a file of a container can be anything. */
const MAX_BYTES = 1024 * 1024;
const MAX_ID = 2 ** 32 - 2;

/**
 * The process with the numbers of a user that is given by name: `user` or `user:group`, each a name or a number, as the rootfs has them. Without a group
 * it has the user's own, and those that list the user.
 * @throws INVALID_ARGUMENT naming what the rootfs does not know.
 */
export async function withUserIds(process: OciProcess, rootfs: string): Promise<OciProcess> {
  const { username, ...user } = process.user;
  if (username === undefined) return process;
  const [passwd, group] = await Promise.all([linesOf(rootfs, "/etc/passwd"), linesOf(rootfs, "/etc/group")]);
  return { ...process, user: { ...user, ...resolveUser(username, user.additionalGids ?? [], passwd, group) } };
}

/** The numbers of `username`, from the fields of each line of both files. */
export function resolveUser(
  username: string,
  additionalGids: readonly number[],
  passwd: readonly (readonly string[])[],
  group: readonly (readonly string[])[],
): Pick<OciUser, "uid" | "gid" | "additionalGids"> {
  const [userName = "", groupName] = username.split(":", 2);
  const entry = passwd.find(([name]) => name === userName) ?? passwd.find(([, , uid]) => uid === userName);
  const uid = idOf(entry?.[2] ?? userName, "user", userName, "/etc/passwd");
  const own = entry?.[0];
  const named = groupName === undefined ? undefined : (group.find(([name]) => name === groupName)?.[2] ?? groupName);
  const gid =
    named === undefined
      ? idOf(entry?.[3] ?? "0", "group of the user", userName, "/etc/passwd")
      : idOf(named, "group", groupName ?? "", "/etc/group");
  const listed =
    groupName === undefined && own !== undefined ? group.filter(([, , , members = ""]) => members.split(",").includes(own)) : [];
  const gids = listed.map(([name = "", , id = ""]) => idOf(id, "group", name, "/etc/group")).filter((id) => id !== gid);
  return { uid, gid, additionalGids: [...new Set([...gids, ...additionalGids])] };
}

function idOf(text: string, what: string, name: string, file: string): number {
  const id = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (id <= MAX_ID) return id;
  throw new StatusError(
    "INVALID_ARGUMENT",
    `Cannot use process.user: there is no ${what} ${JSON.stringify(name)} in the container's ${file}`,
  );
}

/** The fields of a file's lines; none when it is not there. */
async function linesOf(rootfs: string, path: string): Promise<string[][]> {
  const found = await findInRootfs(rootfs, path);
  if (!found?.stats.isFile()) return [];
  // Between the look and the opening it may have become a pipe, which must not hold the agent up, or a link.
  const file = await open(found.path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_BYTES), 0, MAX_BYTES, 0);
    return buffer
      .toString("utf8", 0, bytesRead)
      .split("\n")
      .map((line) => line.split(":"));
  } finally {
    await file.close();
  }
}
