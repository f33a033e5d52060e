import { KiB } from "tapvisor/plugin";
import { readLogTail } from "./bounded-log.ts";
import type { VmPaths } from "./paths.ts";

const LINES = 60;
const BYTES = 16 * KiB;

/** The last lines of the guest's console and of QEMU's messages: at most 60 lines and 16 KiB each, control characters escaped. */
export async function readDiagnostics(paths: VmPaths): Promise<{ console: string; stderr: string }> {
  const [console, stderr] = await Promise.all([readLogTail(paths.console, BYTES), readLogTail(paths.stderr, BYTES)]);
  return { console: lastLines(console), stderr: lastLines(stderr) };
}

/** The line of a kernel panic in a console's text; `undefined` when there is none. */
export function findPanic(console: string): string | undefined {
  return /Kernel panic - not syncing: [^\n]*/.exec(console)?.[0];
}

/** The last 60 lines, made safe to print. */
export function lastLines(text: string): string {
  const lines = escapeControls(text.replaceAll("\r\n", "\n")).split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.slice(-LINES).join("\n");
}

/** Shows what could steer a terminal (C0 but for newline and tab, DEL, C1) or reorder a line (bidirectional marks) instead of sending it. */
export function escapeControls(text: string): string {
  return text.replace(/[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}
