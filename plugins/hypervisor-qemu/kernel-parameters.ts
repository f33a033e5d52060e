import { TapvisorError } from "tapvisor/plugin";
import type { Accelerator } from "./accelerator.ts";

/**
 * Console output is the largest single cost of a boot: the kernel is silent until it panics. At loglevel 0 it would not print that either. After an oops it would go on with
 * locks that nobody releases, and whoever waits for what died in it would wait for ever: it panics instead.
 */
const MACHINE = [
  ...["console=ttyS0", "quiet", "loglevel=1", "panic=1", "oops=panic", "reboot=t"],
  ...["tsc=reliable", "no_timer_check", "cryptomgr.notests", "random.trust_cpu=on"],
  ...["8250.nr_uarts=1", "i8042.noaux", "i8042.nomux", "i8042.nopnp", "i8042.dumbkbd"],
];

/**
 * Plugged memory comes online by itself, and where it can be taken back from: among the movable pages. The kernel's own find no place there, so
 * beyond 7 times what it booted with it gets an eighth of what comes: with all of it movable, a guest that had grown from 512 MiB to 8.5 GiB died of
 * 300,000 files in a tmpfs, with 8 GiB free. With this it held them, and gave back all of the 8 GiB but 24 MiB.
 */
const PLUGGED_MEMORY = [
  ...["memhp_default_state=online", "memory_hotplug.online_policy=auto-movable", "memory_hotplug.auto_movable_ratio=700"],
  // 512 pieces of 2 KiB to bounce I/O through instead of 64 MiB, which the kernel sets aside where memory may come above 4 GiB: virtio needs none.
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
  return [...MACHINE, ...PLUGGED_MEMORY, ...(accelerator === "tcg" ? EMULATION : []), ...guestWords].join(" ");
}
