import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { type Call, TapvisorError } from "tapvisor/plugin";

export interface QemuVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
}

/** The oldest QEMU whose behaviour this plugin was measured on. */
export const OLDEST_QEMU = { major: 7, minor: 2 } as const;

const TIMEOUT_MS = 10_000;

/** What `qemu --version` says; `undefined` when it does not run or says something else. Up to 10 s. */
export async function askVersion(binary: string, call: Call): Promise<QemuVersion | undefined> {
  const text = await askVersionText(binary, call);
  return text === undefined ? undefined : parseVersion(text);
}

/** The first line of it, the build of a distribution included; `undefined` when it does not run. */
export async function askVersionText(binary: string, call: Call): Promise<string | undefined> {
  const run = promisify(execFile)(binary, ["--version"], { timeout: TIMEOUT_MS, signal: call.signal, maxBuffer: 64 * 1024 });
  return run.then(
    ({ stdout }) => stdout.split("\n", 1)[0],
    () => undefined,
  );
}

/** Reads `QEMU emulator version 7.2.22 (…)`. */
export function parseVersion(text: string): QemuVersion | undefined {
  const [, major, minor, micro] = /version (\d+)\.(\d+)(?:\.(\d+))?/.exec(text) ?? [];
  return major === undefined ? undefined : { major: Number(major), minor: Number(minor), micro: Number(micro ?? 0) };
}

export function isTooOld(version: QemuVersion): boolean {
  return version.major < OLDEST_QEMU.major || (version.major === OLDEST_QEMU.major && version.minor < OLDEST_QEMU.minor);
}

export function formatVersion({ major, minor, micro }: QemuVersion): string {
  return `${major}.${minor}.${micro}`;
}

export function tooOld(binary: string, version: QemuVersion): TapvisorError {
  const wanted = `${OLDEST_QEMU.major}.${OLDEST_QEMU.minor} or newer`;
  return new TapvisorError("HOST_MISSING", `Cannot use "${binary}": QEMU is ${formatVersion(version)}, wanted ${wanted}`, {
    data: { what: "QEMU", found: formatVersion(version), wanted },
    hint: "install a newer QEMU: apt-get install qemu-system-x86, or name another one in the option `binary`",
  });
}
