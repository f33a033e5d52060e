import { existsSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { identifyProcess, type ProcessIdentity } from "../../src/base/process-identity.ts";

/** Something on the machine that a test could have left behind. */
export interface Trace {
  readonly kind: "mount" | "process" | "socket" | "file";
  /** The same thing has the same key in two looks. */
  readonly key: string;
  /** One line for a person. */
  readonly text: string;
  readonly process?: ProcessIdentity;
  /** Where it is, for mounts, sockets and files. */
  readonly path?: string;
}

/** Where to look, and what counts as a test's doing. */
export interface Scope {
  /** Mounts, sockets, files, and processes whose command line names a path, below these. */
  readonly directories: readonly string[];
  /** Roots of engines in `directories`: there, directories may stay, since an engine keeps its own. */
  readonly roots?: readonly string[];
  /** `NAME=value`: processes that have it in their environment. */
  readonly mark?: string;
  /** Processes of this session. */
  readonly session?: number;
  /** The machine is nobody else's: every mount, every temporary file and socket, every program that our backends start. */
  readonly wholeMachine?: boolean;
}

/** Programs that the project's backends and tests start, by the names the kernel gives them (at most 15 characters). */
const OUR_PROGRAMS = /^(qemu-system-.*|virtiofsd|crun|node|unshare|busybox)$/;

/** Everything in scope that is there now, by key. */
export async function lookAround(scope: Scope): Promise<Map<string, Trace>> {
  const traces = [...mounts(scope), ...sockets(scope), ...files(scope), ...(await processes(scope))];
  return new Map(traces.map((trace) => [trace.key, trace]));
}

/** What a later look has that an earlier one had not. */
export function newTraces(before: ReadonlyMap<string, Trace>, after: ReadonlyMap<string, Trace>): Trace[] {
  return [...after.values()].filter(({ key }) => !before.has(key));
}

function isBelow(path: string, directories: readonly string[]): boolean {
  return directories.some((directory) => path === directory || path.startsWith(`${directory}/`));
}

function mounts({ directories, wholeMachine }: Scope): Trace[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").trim().split("\n");
  return lines.flatMap((line) => {
    // proc(5): the first field is the mount's id, the fifth its mount point with blanks as \040; the type stands after a lone dash.
    const [id, , , , point = ""] = line.split(" ");
    const path = point.replace(/\\(\d{3})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8)));
    const fstype = line.split(" - ")[1]?.split(" ")[0];
    if (!wholeMachine && !isBelow(path, directories)) return [];
    return [{ kind: "mount", key: `mount ${id} ${path}`, text: `mount ${path} (${fstype})`, path }];
  });
}

function sockets({ directories, wholeMachine }: Scope): Trace[] {
  // Every service of a machine opens sockets: even where the machine is ours, only those in the places of tests and engines count.
  const places = wholeMachine ? [...directories, tmpdir(), "/var/lib/tapvisor"] : directories;
  const lines = readFileSync("/proc/net/unix", "utf8").trim().split("\n").slice(1);
  return lines.flatMap((line) => {
    const [, inode, path] = /^(?:\S+\s+){6}(\d+)\s+(\/.*)$/.exec(line) ?? [];
    if (!path || !isBelow(path, places)) return [];
    return [{ kind: "socket", key: `socket ${inode} ${path}`, text: `unix socket ${path}`, path }];
  });
}

/** What tools keep in the temporary directory on purpose, to be quicker the next time. */
const CACHES = /^(tsx-|node-compile-cache$)/;

function files({ directories, roots = [], wholeMachine }: Scope): Trace[] {
  const places = wholeMachine ? [...directories, tmpdir(), "/dev/shm"] : directories;
  const entries = places.flatMap((place) =>
    names(place)
      .filter((name) => !CACHES.test(name))
      .map((name) => join(place, name)),
  );
  const paths = [...entries.filter((path) => !roots.includes(path)), ...roots.flatMap(filesBelow)];
  return paths.map((path) => ({ kind: "file", key: `file ${path}`, text: `file ${path}`, path }));
}

function filesBelow(root: string): string[] {
  if (!existsSync(root)) return [];
  const entries = readdirSync(root, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
}

async function processes(scope: Scope): Promise<Trace[]> {
  const found: Trace[] = [];
  for (const name of names("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid || !isOurs(pid, scope)) continue;
    const identity = await identifyProcess(pid);
    if (!identity) continue;
    const commandLine = read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim().slice(0, 300);
    found.push({ kind: "process", key: `process ${pid} ${identity.startTime}`, text: `process ${pid}: ${commandLine}`, process: identity });
  }
  return found;
}

function isOurs(pid: number, { directories, mark, session, wholeMachine }: Scope): boolean {
  const stat = read(`/proc/${pid}/stat`);
  // Fields are counted from the last parenthesis, since the name may hold any: state, parent, group, session.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (session !== undefined && Number(fields[3]) === session) return true;
  if (wholeMachine && OUR_PROGRAMS.test(stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")")))) return true;
  if (mark !== undefined && read(`/proc/${pid}/environ`).split("\0").includes(mark)) return true;
  const commandLine = read(`/proc/${pid}/cmdline`);
  return directories.some((directory) => commandLine.includes(`${directory}/`));
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // not there, or not ours to see
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // the process has ended, or belongs to another user
  }
}
