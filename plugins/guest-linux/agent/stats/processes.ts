import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ProcessInfoMessage } from "tapvisor/protocol";

/** How many are looked at; so many fit into one answer. */
const MAX_PROCESSES = 4096;

/** What all command lines of an answer may have together, and one of them at most, bytes. */
const MAX_COMMANDS_BYTES = 512 * 1024;
const MAX_COMMAND_BYTES = 4096;

/** Files are read for so many processes at once: the thread pool is not theirs alone. */
const AT_ONCE = 8;

/** Of the times in /proc/PID/stat, a second: fixed for every architecture's programs. */
const TICKS_PER_SECOND = 100;

/** A process, and what is known of it in the guest's own numbers. */
interface Seen extends ProcessInfoMessage {
  readonly guestPid: number;
  readonly guestParent: number;
}

/** Describes processes of a container, given as the guest counts them; those that end meanwhile are left out. */
export async function processesIn(proc: string, guestPids: readonly number[]): Promise<readonly ProcessInfoMessage[]> {
  const pids = guestPids.slice(0, MAX_PROCESSES);
  const [uptime = "0"] = (await readFile(join(proc, "uptime"), "utf8")).split(" ");
  const commandBytes = Math.min(MAX_COMMAND_BYTES, Math.floor(MAX_COMMANDS_BYTES / Math.max(pids.length, 1)));
  const seen: Seen[] = [];
  for (let at = 0; at < pids.length; at += AT_ONCE) {
    const some = pids.slice(at, at + AT_ONCE).map((pid) => look(join(proc, String(pid)), pid, Number(uptime), commandBytes));
    for (const each of await Promise.all(some)) if (each) seen.push(each);
  }
  const own = new Map(seen.map(({ guestPid, pid }) => [guestPid, pid]));
  return seen.map(({ guestPid: _, guestParent, ...process }) => ({ ...process, parent_pid: own.get(guestParent) ?? 0 }));
}

async function look(directory: string, guestPid: number, uptime: number, commandBytes: number): Promise<Seen | undefined> {
  try {
    const read = (name: string) => readFile(join(directory, name));
    const [stat, status, commandLine] = await Promise.all([read("stat"), read("status"), read("cmdline")]);
    const fields = fieldsOf(status.toString("utf8"));
    // The second number is that of the container's namespace; one that has none has not got into it yet.
    const [, pid] = numbers(fields.get("NSpid"));
    if (pid === undefined) return undefined;
    // The name in brackets may hold anything, brackets too; after the last one come the state and the parent.
    const text = stat.toString("utf8");
    const [state = "", parent = "0", ...rest] = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const startedTicks = Number(rest[17] ?? 0); // the 22nd field of all
    return {
      guestPid,
      guestParent: Number(parent),
      pid,
      parent_pid: 0,
      uid: numbers(fields.get("Uid"))[1] ?? 0, // real, effective, saved, of the file system
      gid: numbers(fields.get("Gid"))[1] ?? 0,
      state,
      command: commandOf(commandLine.subarray(0, commandBytes), fields.get("Name") ?? ""),
      elapsed_seconds: String(Math.max(0, Math.floor(uptime - startedTicks / TICKS_PER_SECOND))),
      resident_bytes: String((numbers(fields.get("VmRSS"))[0] ?? 0) * 1024),
    };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
}

/** The arguments end with a NUL each; what has none left, or never had any, is known by its name. */
function commandOf(commandLine: Buffer, name: string): string {
  const text = commandLine.toString("utf8").replace(/\0+$/, "").replaceAll("\0", " ");
  return text === "" ? `[${name}]` : text;
}

function fieldsOf(status: string): ReadonlyMap<string, string> {
  return new Map(
    status.split("\n").map((line) => {
      const at = line.indexOf(":");
      return [line.slice(0, at), line.slice(at + 1).trim()];
    }),
  );
}

function numbers(field = ""): readonly number[] {
  return field
    .split(/\s+/)
    .filter((part) => /^\d+$/.test(part))
    .map(Number);
}
