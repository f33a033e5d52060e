import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type Call, TapvisorError } from "tapvisor/plugin";
import { readElf } from "./elf.ts";
import { needProgram, runProgram } from "./program.ts";

/** The host's own programs that go into the guest, and the bundled agent. Absolute paths. */
export interface HostParts {
  readonly node: string;
  readonly crun: string;
  readonly busybox: string;
  readonly perl: string;
  readonly agent: string;
}

/** The agent's bundle lies beside the plugin, in the repository and in the package. */
export const AGENT_BUNDLE = fileURLToPath(new URL("../agent.bundle.cjs", import.meta.url));

/**
 * Finds the programs without reading them.
 *
 * @throws HOST_MISSING naming the package or the command that provides it; UNSUPPORTED on a machine of another kind than the kernel's.
 */
export async function findParts(agent: string): Promise<HostParts> {
  if (process.arch !== "x64") {
    throw new TapvisorError("UNSUPPORTED", `Cannot build the guest on ${process.arch}: wanted x64`, {
      data: { what: `${process.arch} guests`, by: "guest-linux" },
      hint: "use guest-files with a kernel and an image of your own",
    });
  }
  const busybox = await needProgram("busybox", "busybox-static");
  const crun = await needProgram("crun", "crun");
  const perl = await needProgram("perl", "perl-base");
  if (!(await stat(agent).catch(() => undefined))?.isFile()) {
    throw new TapvisorError("HOST_MISSING", `Cannot build the guest: its agent is not bundled yet: there is no ${agent}`, {
      data: { what: "guest agent bundle", wanted: agent },
      hint: "run: npm run build:agent",
    });
  }
  return { node: process.execPath, crun, busybox, perl, agent };
}

/** The commands this busybox can be. @throws HOST_MISSING when it needs shared libraries: the initrd has none. */
export async function listApplets(busybox: string, call: Call): Promise<string[]> {
  if ((await readElf(busybox))?.dynamic) {
    throw new TapvisorError("HOST_MISSING", `Cannot use ${busybox} in the guest: it needs shared libraries, wanted a static one`, {
      data: { what: "static busybox", found: busybox, wanted: "the Debian package busybox-static" },
      hint: "install it (it replaces the package busybox): sudo apt-get install busybox-static",
    });
  }
  const list = await runProgram(busybox, ["--list"], call, { action: "list the commands of busybox", timeoutMs: 10_000 });
  return list.split("\n").filter((name) => /^[\w.[\]-]+$/.test(name) && name !== "busybox");
}
