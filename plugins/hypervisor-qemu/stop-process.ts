import { type Call, isAlive, type ProcessIdentity, signalProcess, TapvisorError } from "tapvisor/plugin";
import { endsWithin } from "./process.ts";

/** How long each way of ending QEMU gets, ms. Together they fit well into the 10 s that a release has. */
const QUIT_ANSWER_MS = 1_000;
const QUIT_MS = 2_000;
const TERMINATE_MS = 1_000;
const KILL_MS = 5_000;

/** Asks QEMU to quit and resolves when it has answered, within `timeoutMs`. */
export type Quit = (timeoutMs: number) => Promise<unknown>;

/**
 * Ends QEMU: asks it to quit, then SIGTERM, then SIGKILL, each with a deadline of its own. A wedged QEMU answers neither of the first two.
 * Once it is decided nothing holds it up: when the caller's signal fires, SIGKILL follows at once.
 *
 * @throws TIMEOUT when the process is there 5 s after SIGKILL (it waits in the kernel for a device, say).
 */
export async function stopProcess(identity: ProcessIdentity, quit: Quit, { signal, log }: Call): Promise<void> {
  if (!(await isAlive(identity))) return;
  const accepted = await quit(QUIT_ANSWER_MS).then(
    () => true,
    () => false,
  );
  if (await endsWithin(identity, accepted ? QUIT_MS : 0, signal)) return;
  log.debug({ pid: identity.pid, accepted }, "QEMU did not quit: SIGTERM");
  await signalProcess(identity, "SIGTERM");
  if (await endsWithin(identity, TERMINATE_MS, signal)) return;
  log.warn({ pid: identity.pid }, "QEMU did not end at SIGTERM: SIGKILL");
  await signalProcess(identity, "SIGKILL");
  if (await endsWithin(identity, KILL_MS)) return;
  const what = `the end of QEMU's process ${identity.pid}`;
  throw new TapvisorError("TIMEOUT", `Timed out waiting for ${what}: it still runs ${KILL_MS} ms after SIGKILL`, {
    data: { what, timeoutMs: KILL_MS },
    hint: "it waits in the kernel, for a disk or network file system that does not answer, say",
  });
}
