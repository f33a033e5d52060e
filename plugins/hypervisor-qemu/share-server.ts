import { mkdir, rm } from "node:fs/promises";
import { findProcessesByMark, type ProcessIdentity, TapvisorError } from "tapvisor/plugin";
import { readLogTail, startLogs } from "./bounded-log.ts";
import { lastLines } from "./diagnostics.ts";
import { requireProgram } from "./host-programs.ts";
import { shareLogMark, shareMark } from "./marks.ts";
import type { QemuOptions } from "./options.ts";
import { type SharePaths, sharePaths } from "./paths.ts";
import { dyingWithThisProcess, endsWithin, killTree, type Spawned, spawnProcess } from "./process.ts";
import { openToGroup } from "./run-directory.ts";
import type { CheckedEntry } from "./share-entries.ts";
import type { QemuUser } from "./user.ts";

/** How long virtiofsd gets to end by itself once QEMU has closed its connection, ms. */
const ENDS_MS = 500;
const KILL_MS = 3_000;
const LOG_MESSAGE_BYTES = 4_096;

/**
 * Mounts the entries below the staging directory and becomes virtiofsd. It runs in a mount namespace of its own: the host never sees
 * these mounts, and they are gone with the process however it ends. Read-only stands on the mounts, where no guest reaches it.
 * A bind mount does not carry the mounts below its source.
 *
 * The guest sees one file system, not one for each entry (`announce_submounts`): Linux 6.1 unmounts such a part with the last process that sees it, while
 * the closing of that process's files may still be on its way, and dies of that (a BUG for busy inodes in generic_shutdown_super).
 */
const SERVE = `
set -eu
outer=$1 stage=$2 socket=$3 group=$4 daemon=$5; shift 5
read -r outer <"/proc/$outer/stat"
case $outer in *') Z '* | *') X '*) exit 125 ;; esac
mount -t tmpfs -o mode=0755,size=1m tapvisor-share "$stage"
while [ $# -gt 0 ]; do
  entry=$stage/$1 source=$2 type=$3 access=$4 file=$5; shift 5
  if [ "$type" = directory ]; then mkdir "$entry"; else : >"$entry"; fi
  mount --no-canonicalize --bind "$source" "$entry"
  if [ "$(stat -c %d:%i "$entry")" != "$file" ]; then echo "$source was exchanged while it was shared" >&2; exit 1; fi
  if [ "$access" = ro ]; then mount -o remount,bind,ro "$entry"; fi
done
mount -o remount,ro "$stage"
exec "$daemon" -f --socket-path="$socket" \${group:+--socket-group="$group"} -o source="$stage" -o cache=auto -o sandbox=namespace -o xattr -o log_level=warn
`;

/**
 * In a process namespace of its own, all that virtiofsd forks dies with it. unshare stays outside, and ends with what it started; what it
 * started is told of its end only from shortly after the fork on, so SERVE looks first whether it still is there: $$ is the same process.
 */
const ISOLATE = `
serve=$1 mark=$2; shift 2
exec unshare --mount --propagation private --pid --fork --kill-child=KILL sh -c "$serve" "$mark" "$$" "$@"
`;

export interface ShareServer {
  readonly process: ProcessIdentity;
  readonly socket: string;
  /** Rejects when the server ends; the error quotes what it said. Never resolves. */
  readonly failed: Promise<never>;
}

export interface ShareServerPlan {
  readonly id: string;
  readonly nonce: string;
  readonly directory: string;
  readonly entries: readonly CheckedEntry[];
  /** Whether the server ends with this process; it always ends with QEMU. */
  readonly diesWithThisProcess: boolean;
  /** Whom QEMU runs as when that is not who started it: it has to reach the server's socket. */
  readonly user?: QemuUser;
}

/**
 * Starts the file server of a share. Its socket appears a few milliseconds later.
 *
 * @throws UNSUPPORTED when not root, HOST_MISSING without virtiofsd.
 */
export async function startShareServer(plan: ShareServerPlan, options: QemuOptions): Promise<ShareServer> {
  if (process.geteuid?.() !== 0) throw needsRoot();
  const daemon = await requireProgram(options.virtiofsd, "qemu-system-common");
  const paths = sharePaths(plan.directory);
  await mkdir(paths.stage, { recursive: true, mode: 0o700 });
  if (plan.user) await openToGroup(plan.directory, plan.user);
  const entries = plan.entries.flatMap(({ name, source, type, readonly, file }) => [name, source, type, readonly ? "ro" : "rw", file]);
  const mark = shareMark(plan.nonce, plan.id);
  const argv = ["sh", "-c", ISOLATE, "sh", SERVE, mark, paths.stage, paths.socket, plan.user?.group ?? "", daemon, ...entries];
  const logs = await startLogs([paths.log], shareLogMark(plan.nonce, plan.id));
  let spawned: Spawned;
  try {
    spawned = await spawnProcess(plan.diesWithThisProcess ? dyingWithThisProcess(argv) : argv, ["ignore", "ignore", ...logs.inputs]);
  } finally {
    for (const input of logs.inputs) input.destroy();
  }
  spawned.child.unref(); // it ends with QEMU
  const failed = spawned.exited.then(async () => {
    await logs.process.exited;
    throw await serverFailed(plan.id, paths);
  });
  failed.catch(() => {});
  return spawned.identity ? { process: spawned.identity, socket: paths.socket, failed } : failed;
}

/** Ends the server of a share, wherever it got, and removes its directory. Nothing there is success. */
export async function stopShareServer(server: ProcessIdentity | undefined, nonce: string, id: string, directory: string): Promise<void> {
  const servers = server ? [server] : await findProcessesByMark(shareMark(nonce, id));
  for (const identity of servers) {
    if (await endsWithin(identity, server ? ENDS_MS : 0)) continue;
    await killTree(identity);
    if (!(await endsWithin(identity, KILL_MS))) throw notEnded(identity, id);
  }
  for (const log of await findProcessesByMark(shareLogMark(nonce, id))) {
    if (!(await endsWithin(log, ENDS_MS))) await killTree(log);
  }
  await rm(directory, { recursive: true, force: true });
}

function needsRoot(): TapvisorError {
  return new TapvisorError("UNSUPPORTED", "Cannot share a host directory: this process is not root, wanted root", {
    data: { what: "sharing host directories without root", by: "hypervisor-qemu" },
    hint: "run the script as root or with sudo: mounting needs it, and virtiofsd must take on every file's owner",
  });
}

async function serverFailed(id: string, paths: SharePaths): Promise<TapvisorError> {
  const said = lastLines(await readLogTail(paths.log, LOG_MESSAGE_BYTES));
  return new TapvisorError("VM_FAILED", `Cannot share "${id}": its virtiofsd has ended, wanted it to run; it said:\n${said}`, {
    data: { id, stderr: said },
    hint: "mounting must be allowed to this process: in a container it needs CAP_SYS_ADMIN",
  });
}

function notEnded({ pid }: ProcessIdentity, id: string): TapvisorError {
  const what = `the end of virtiofsd ${pid} of share "${id}"`;
  return new TapvisorError("TIMEOUT", `Timed out waiting for ${what}: it still runs ${KILL_MS} ms after SIGKILL`, {
    data: { what, timeoutMs: KILL_MS },
  });
}
