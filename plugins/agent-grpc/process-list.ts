import type { GuestProcessInfo } from "tapvisor/plugin";
import type { DescribeProcessesResponse, ListProcessesResponse } from "tapvisor/protocol";
import { exact, wrong } from "./answers.ts";
import { guestText } from "./guest-text.ts";
import { MAX_PROCESSES, MAX_TEXT } from "./limits.ts";

/** What a Kata agent gives its ps, which is that of procps: all processes, with the columns that are read here. */
export const PS_ARGUMENTS: readonly string[] = ["-eww", "-o", "pid,ppid,uid,gid,stat,etimes,rss,args"];

const HEADER = "PID PPID UID GID STAT ELAPSED RSS COMMAND";
const ROW = /^ *(\d+) +(\d+) +(\d+) +(\d+) +([A-Za-z])\S* +(\d+) +(\d+) (.*)$/;
const MAX_ID = 2 ** 32 - 1;

/** @throws GUEST_PROTOCOL for more processes than 4096, or a row that cannot be one's. */
export function describedProcesses({ processes }: DescribeProcessesResponse, subject: string): readonly GuestProcessInfo[] {
  const what = `processes of ${subject}`;
  checkCount(processes.length, what);
  return processes.map(({ pid, parent_pid, uid, gid, state, command, elapsed_seconds, resident_bytes }) => {
    if (pid === 0) throw wrong(what, "one of pid 0", "1 or more");
    if (!/^[A-Za-z]$/.test(state)) throw wrong(what, `one in state ${JSON.stringify(guestText(state, 16))}`, "a letter");
    return {
      pid,
      parentPid: parent_pid,
      uid,
      gid,
      state,
      command: guestText(command, MAX_TEXT),
      elapsedSeconds: exact(elapsed_seconds, what),
      residentBytes: exact(resident_bytes, what),
    };
  });
}

/** What `ps` has printed with `PS_ARGUMENTS`. @throws GUEST_PROTOCOL when it is something else. */
export function tableOfProcesses({ process_list }: ListProcessesResponse, subject: string): readonly GuestProcessInfo[] {
  const what = `process table of ${subject}`;
  const [header = "", ...rows] = Buffer.from(process_list).toString("utf8").trimEnd().split("\n");
  if (header.trim().replace(/ +/g, " ") !== HEADER) throw wrong(what, JSON.stringify(guestText(header, 128)), JSON.stringify(HEADER));
  checkCount(rows.length, what);
  return rows.map((row) => {
    const [, pid, parentPid, uid, gid, state = "", elapsed = "", residentKib = "", command = ""] = ROW.exec(row) ?? [];
    const id = (digits = "") => {
      const number = Number(digits);
      if (digits === "" || number > MAX_ID) throw wrong(what, `the row ${JSON.stringify(guestText(row, 128))}`, "a process's");
      return number;
    };
    return {
      pid: id(pid),
      parentPid: id(parentPid),
      uid: id(uid),
      gid: id(gid),
      state,
      command: guestText(command, MAX_TEXT),
      elapsedSeconds: exact(elapsed, what),
      residentBytes: exact(String(Number(residentKib) * 1024), what),
    };
  });
}

function checkCount(count: number, what: string): void {
  if (count > MAX_PROCESSES) throw wrong(`number of ${what}`, count, `at most ${MAX_PROCESSES}`);
}
