import { TapvisorError } from "tapvisor/plugin";
import type { Accelerator } from "./accelerator.ts";

/** Console output is the largest single cost of a boot: the kernel is silent until it panics. At loglevel 0 it would not print that either. */
const MACHINE = [
  ...["console=ttyS0", "quiet", "loglevel=1", "panic=1", "reboot=t"],
  ...["tsc=reliable", "no_timer_check", "cryptomgr.notests", "random.trust_cpu=on"],
  ...["8250.nr_uarts=1", "i8042.noaux", "i8042.nomux", "i8042.nopnp", "i8042.dumbkbd"],
  ...["memhp_default_state=online", "memory_hotplug.online_policy=auto-movable", "memory_hotplug.auto_movable_ratio=700"],
  "swiotlb=512",
];

/** Safe to leave out only where every guest instruction is interpreted: there they cost time and defend nothing. */
const EMULATION = ["nokaslr", "mitigations=off", "nopti"];

/**
 * The kernel's command line; the guest's own words stand last, where they win.
 *
 * @throws INVALID_INPUT for a word with a space or a control character, which would become another word.
 */
export function kernelCommandLine(accelerator: Accelerator["name"], guestWords: readonly string[]): string {
  const bad = guestWords.find((word) => !/^[!-~]+$/.test(word));
  if (bad !== undefined) {
    const wanted = "one word of printable ASCII";
    throw new TapvisorError("INVALID_INPUT", `Cannot use kernel parameter ${JSON.stringify(bad)}: wanted ${wanted}`, {
      data: { path: "boot.kernelParameters", value: bad, wanted },
    });
  }
  return [...MACHINE, ...(accelerator === "tcg" ? EMULATION : []), ...guestWords].join(" ");
}
