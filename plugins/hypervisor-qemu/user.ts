import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { type Call, messageOf, TapvisorError, throwIfAborted } from "tapvisor/plugin";
import type { QemuOptions } from "./options.ts";

/** The unprivileged user that QEMU runs as. */
export interface QemuUser {
  readonly uid: number;
  readonly name: string;
  readonly gid: number;
  /** virtiofsd wants a group's name. */
  readonly group: string;
}

/** Each of the small programs that are run here takes some ms. */
const TIMEOUT_MS = 10_000;
const WANTED = "an unprivileged user of this host, with a group of its own";

/**
 * Whom the option `user` names; `undefined` without it. Looked up at each start, as users come and go, by a program that knows all of the host's sources of users.
 *
 * @throws UNSUPPORTED when this process is not root, INVALID_INPUT when there is no such user, or it is root.
 */
export async function findUser({ user }: Pick<QemuOptions, "user">, call: Call): Promise<QemuUser | undefined> {
  if (user === undefined) return undefined;
  if (process.geteuid?.() !== 0) throw needsRoot(user);
  const said = await run("id", ["--", user], call).catch((error: unknown) => {
    throwIfAborted(call.signal, "looking up QEMU's user");
    throw badUser(user, "the host does not know it", error);
  });
  const [, uid, name, gid, group] = /^uid=(\d+)\(([^)\n]+)\) gid=(\d+)(?:\(([^)\n]+)\))?/.exec(said) ?? [];
  if (uid === undefined || name === undefined || gid === undefined) throw badUser(user, `\`id\` says ${JSON.stringify(said)}`);
  if (Number(uid) === 0) throw badUser(user, "it is root");
  if (Number(gid) === 0) throw badUser(user, "its group is root's");
  if (group === undefined) throw badUser(user, `its group ${gid} has no name`);
  return { uid: Number(uid), name, gid: Number(gid), group };
}

/**
 * The arguments that run a program as this user, with no group but the user's own, no capability, and no way to gain one. Whatever is armed for the death of a
 * parent is gone with the change of credentials: arm it in what this runs.
 */
export function asUser({ uid, gid }: QemuUser, argv: readonly string[]): string[] {
  const credentials = ["--reuid", String(uid), "--regid", String(gid), "--clear-groups", "--inh-caps=-all", "--no-new-privs"];
  return ["setpriv", ...credentials, ...argv];
}

/** A file that QEMU will open by its path. */
export interface NeededFile {
  /** The input that names it. */
  readonly field: string;
  readonly path: string;
  readonly access: "read" | "read and write" | "execute";
}

/** The kernel itself is asked, as the user: it alone knows the whole of modes, access lists and the directories above. Prints the index of a refused file. */
const TRY = `
index=0
while [ $# -gt 0 ]; do
  refused=
  case $1 in read*) [ -r "$2" ] || refused=yes ;; esac
  case $1 in *write) [ -w "$2" ] || refused=yes ;; esac
  case $1 in execute) [ -x "$2" ] || refused=yes ;; esac
  if [ "$refused" ]; then echo "$index"; exit; fi
  index=$((index + 1)); shift 2
done
`;

/**
 * QEMU's own refusal would name a file, but not for whom it is closed. Nothing is changed on the host: whose files they are decides.
 *
 * @throws INVALID_INPUT naming the field, the file and the user; UNSUPPORTED when this process may not become that user.
 */
export async function checkReachable(user: QemuUser, files: readonly NeededFile[], call: Call): Promise<void> {
  const refused = await firstRefused(user, files, call);
  if (!refused) return;
  const { field, path, access } = refused;
  const wanted = `a file that user "${user.name}" can ${access}`;
  throw new TapvisorError("INVALID_INPUT", `Cannot use ${field} "${path}": QEMU runs as user "${user.name}", who cannot ${access} it`, {
    data: { path: field, value: path, wanted },
    hint: `give that user or its group "${user.group}" access to the file, and to enter each directory above it (chmod, chgrp, setfacl); namei -l shows them`,
  });
}

/** The first of the files that the user cannot use so. @throws UNSUPPORTED when this process may not become that user. */
export async function firstRefused(user: QemuUser, files: readonly NeededFile[], call: Call): Promise<NeededFile | undefined> {
  const [program = "", ...argv] = asUser(user, ["sh", "-c", TRY, "sh", ...files.flatMap(({ access, path }) => [access, path])]);
  const said = await run(program, argv, call).catch((cause: unknown) => {
    throwIfAborted(call.signal, "looking at the files of QEMU's user");
    throw new TapvisorError("UNSUPPORTED", `Cannot run QEMU as user "${user.name}": ${messageOf(cause)}`, {
      data: { what: `the user "${user.name}" for QEMU`, by: "hypervisor-qemu" },
      hint: "in a container this needs the capabilities SETUID and SETGID; leave the option `user` out where they are not to be had",
      cause,
    });
  });
  return said === "" ? undefined : files[Number(said)];
}

async function run(program: string, argv: readonly string[], { signal }: Call): Promise<string> {
  const env = { PATH: process.env.PATH, LC_ALL: "C" };
  const { stdout } = await promisify(execFile)(program, argv, { cwd: "/", env, timeout: TIMEOUT_MS, signal });
  return stdout.trim();
}

function needsRoot(user: string): TapvisorError {
  return new TapvisorError("UNSUPPORTED", `Cannot run QEMU as user "${user}": this process is not root, wanted root`, {
    data: { what: "the option hypervisor-qemu.user without root", by: "hypervisor-qemu" },
    hint: "run the script as root, or leave the option out: QEMU then runs as who runs the script",
  });
}

function badUser(user: string, found: string, cause?: unknown): TapvisorError {
  const path = "hypervisor-qemu.user";
  return new TapvisorError("INVALID_INPUT", `Cannot use option ${path} "${user}": ${found}, wanted ${WANTED}`, {
    data: { path, value: user, wanted: WANTED },
    hint: "make one: useradd --system --user-group --no-create-home --shell /usr/sbin/nologin tapvisor-qemu",
    cause,
  });
}
