import { rm } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { TapvisorError, throwIfAborted, type VmIntent, withDeadline } from "tapvisor/plugin";
import { type BoundedLogs, startLogs } from "./bounded-log.ts";
import { readDiagnostics } from "./diagnostics.ts";
import { checkOpened } from "./disk-source.ts";
import { type ListeningSockets, listenForQemu } from "./listening.ts";
import { Machine } from "./machine.ts";
import { registerMachine } from "./machines.ts";
import { vmLogMark } from "./marks.ts";
import { migrateIn } from "./migration.ts";
import { vmPaths } from "./paths.ts";
import type { StartFrom } from "./prepare-start.ts";
import { confined, type ProcessExit, type Spawned, spawnProcess } from "./process.ts";
import { openToGroup } from "./run-directory.ts";
import type { QemuUser } from "./user.ts";
import type { QemuVersion } from "./version.ts";

/** How long QEMU gets to open its control socket and greet, ms; 30 is usual. */
const GREETING_MS = 30_000;
/** Between two tries to connect, ms: the socket appears with the first one that succeeds, and nothing announces it. */
const CONNECT_EVERY_MS = 3;
/** How long a state may take, ms: 20 without the memory, a second for each GiB of it from a tmpfs. */
const RESTORE_MS = 30_000;
const RESTORE_ALL_MS = 15 * 60_000;
/** How long the logs get to end after QEMU, ms. */
const LOGS_END_MS = 1_000;

export interface Started {
  readonly machine: Machine;
  readonly version: QemuVersion;
}

/**
 * Starts QEMU and resolves when it takes commands and the guest runs, a clone's where its template was.
 *
 * @throws VM_FAILED with the last lines of QEMU's messages and the console when it ends early, TIMEOUT after 30 s, ABORTED. What has
 * been started by then is for `release` to find.
 */
export async function startMachine(
  intent: VmIntent,
  argv: readonly string[],
  { state, plugged }: StartFrom,
  signal: AbortSignal,
  user?: QemuUser,
): Promise<Started> {
  const paths = vmPaths(intent.runDirectory);
  throwIfAborted(signal, "the start of QEMU");
  let logs: BoundedLogs | undefined;
  let sockets: ListeningSockets | undefined;
  let spawned: Spawned;
  try {
    if (user) {
      sockets = await listenForQemu(paths);
      await openToGroup(intent.runDirectory, user);
    }
    logs = await startLogs([paths.console, paths.stderr], vmLogMark(intent.nonce));
    // In the order of their descriptors: STATE_DESCRIPTOR, then those of the sockets.
    const further = [...(state || sockets ? [state?.fd ?? ("ignore" as const)] : []), ...(sockets?.descriptors ?? [])];
    const inherited = ["ignore" as const, ...logs.inputs, ...further];
    spawned = await spawnProcess(confined(argv, intent, user && { user, directory: intent.runDirectory }), inherited);
  } finally {
    sockets?.[Symbol.dispose]();
    for (const input of logs?.inputs ?? []) input.destroy();
  }
  const logging = logs.process;
  const ended = new AbortController(); // nobody will greet any more
  const early = spawned.exited.then(async (exit) => {
    ended.abort();
    await Promise.race([logging.exited, delay(LOGS_END_MS, undefined, { ref: false })]);
    throw await endedEarly(intent, exit);
  });
  early.catch(() => {});
  if (!spawned.identity) return early;
  const machine = new Machine(intent.nonce, spawned.identity, paths, { spawned, detached: intent.detached });
  registerMachine(machine);
  const what = `QEMU's control socket of sandbox "${intent.sandbox}"`;
  const version = await withDeadline({ what, timeoutMs: GREETING_MS, signal }, (inner) =>
    Promise.race([early, greet(machine, AbortSignal.any([inner, ended.signal]))]),
  );
  // QEMU has opened all it was started with: nobody else is to find the memory, and with its last user it is gone.
  if (intent.memory?.kind === "copy") await rm(intent.memory.copy);
  if (state) {
    // Its sockets close a moment before its end, which can say why.
    const explained = async (error: unknown) => ((await machine.endedAfter(error)) ? early : Promise.reject(error));
    for (const { intent: disk, source } of plugged.disks) await checkOpened(machine.identity.pid, disk.path, source);
    const goingOn =
      intent.memory?.kind === "snapshot"
        ? migrateIn(machine, "all", RESTORE_ALL_MS, signal)
        : migrateIn(machine, "none", RESTORE_MS, signal);
    await Promise.race([early, goingOn.catch(explained)]);
  }
  const { status } = (await Promise.race([early, machine.execute("query-status", {}, { signal })])) as { readonly status: string };
  if (status === "running") return { machine, version };
  const { console, stderr } = await readDiagnostics(paths);
  throw new TapvisorError("VM_FAILED", `Cannot start the VM of sandbox "${intent.sandbox}": it is ${status}, wanted running`, {
    data: { id: intent.sandbox, console, stderr },
  });
}

async function greet(machine: Machine, signal: AbortSignal): Promise<QemuVersion> {
  for (;;) {
    const qmp = await machine.connect().catch(() => undefined);
    // A connection that ends here is QEMU's end, which the caller waits for and can explain.
    if (qmp) return qmp.handshake({ signal, timeoutMs: GREETING_MS }).catch(() => new Promise(() => {}));
    if (signal.aborted) return new Promise(() => {});
    await delay(CONNECT_EVERY_MS);
  }
}

async function endedEarly(intent: VmIntent, { exitCode, signal }: ProcessExit): Promise<TapvisorError> {
  const { console, stderr } = await readDiagnostics(vmPaths(intent.runDirectory));
  const how = signal ? `was ended by ${signal}` : `ended with exit code ${exitCode}`;
  const said = [stderr && `; it said:\n${stderr}`, console && `; the console's last lines:\n${console}`].join("");
  return new TapvisorError("VM_FAILED", `Cannot start the VM of sandbox "${intent.sandbox}": QEMU ${how}, wanted it to run${said}`, {
    data: { id: intent.sandbox, exitCode, signal, stderr, console },
    hint: "QEMU's own message names the cause; `tapvisor doctor` checks the host",
  });
}
