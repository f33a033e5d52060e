import { constants } from "node:fs";
import { mkdir, open, rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { GuestPaths } from "../guest-paths.ts";
import { StatusError } from "../status.ts";

const MAX_LINES = 64;
const MAX_LINE = 1024;

/** @throws INVALID_ARGUMENT unless these are lines that a resolver reads. */
export function checkDns(lines: readonly string[]): void {
  if (lines.length > MAX_LINES)
    throw new StatusError("INVALID_ARGUMENT", `Cannot use ${lines.length} lines of dns: wanted at most ${MAX_LINES}`);
  const bad = lines.find((line) => line.length > MAX_LINE || /[\x00-\x08\x0a-\x1f\x7f]/.test(line));
  if (bad !== undefined) {
    throw new StatusError(
      "INVALID_ARGUMENT",
      `Cannot use dns ${JSON.stringify(bad.slice(0, 80))}: wanted one line of at most ${MAX_LINE} characters`,
    );
  }
}

/** /etc/resolv.conf leads to it, and a container can be given it from there. */
export async function writeResolvConf({ resolvConf }: GuestPaths, lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return;
  await mkdir(dirname(resolvConf), { recursive: true });
  await using file = await open(resolvConf, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW, 0o644);
  await file.writeFile(`${lines.join("\n")}\n`);
}

export function removeResolvConf({ resolvConf }: GuestPaths): Promise<void> {
  return rm(resolvConf, { force: true });
}
