import { readdirSync } from "node:fs";
import { join } from "node:path";

export const EXAMPLES = join(import.meta.dirname, "../../../examples");

/** What each example prints, in a real guest and in a fake one. All end with 0. */
export const EXPECTED: Readonly<Record<string, RegExp>> = {
  "grow.ts": /^booted: 1 vCPUs, 512 MiB\nrunning: 3 vCPUs, 768 MiB\nupdated: 2 vCPUs, 640 MiB\nstopped: 1 vCPUs, 512 MiB\n$/,
  "hello.ts": /^Linux .+\nHello from a file of the host, .+\nexit code 0\n$/,
  "pipe.ts": /^the guest got every byte\n$/,
  "pod.ts":
    /^red: red, entries in \/: (\d+), exit code 0\ngreen: green, entries in \/: \1, exit code 0\nblue: blue, entries in \/: \1, exit code 0\n$/,
  "veto.ts": /^released: prepare-rootfs\nHOOK_FAILED: Plugin "only-here" failed beforeHotplug: \/etc is not for containers\nstill here\n$/,
};

/** The files of the folder that are scripts to run. */
export function exampleFiles(): string[] {
  return readdirSync(EXAMPLES, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name)
    .sort();
}
