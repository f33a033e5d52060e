import { execFile } from "node:child_process";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { type GuestBehaviour, HOSTILE_TEXT } from "tapvisor/testing";

/** Opening a pipe that nobody writes to never ends: a program that stays without a child of its own. */
const STAY = 'read -r _ <"$0.pipe"';

const SHELL: Readonly<Record<GuestBehaviour, string>> = {
  quiet: STAY,
  hostile: `printf '${octal(HOSTILE_TEXT)}'\n${STAY}`,
  flood: `while :; do echo ${"A".repeat(200)}; done`,
};

/** A program for a machine of hypervisor-process to run; gives its path. */
export async function shellGuest(directory: string, behaviour: GuestBehaviour): Promise<string> {
  const path = join(directory, behaviour);
  await promisify(execFile)("mkfifo", [`${path}.pipe`]).catch(() => {}); // there from the last time
  return program(path, `#!/bin/sh\n${SHELL[behaviour]}\n`);
}

/** A guest with an agent that answers: its socket says which process it is, and is open as long as the machine lives. */
export function socketGuest(directory: string): Promise<string> {
  const serve = `require("node:net").createServer((socket) => socket.on("error", () => {}).write(String(process.pid)))`;
  const socket = `process.argv.find((word) => word.startsWith("agent=")).slice("agent=".length)`;
  return program(join(directory, "guest"), `#!${process.execPath}\nconsole.log("up");\n${serve}.listen(${socket});\n`);
}

async function program(path: string, text: string): Promise<string> {
  await writeFile(path, text);
  await chmod(path, 0o755);
  return path;
}

function octal(text: string): string {
  return [...Buffer.from(text, "latin1")].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
}
