import { isTapvisorError, TapvisorError, withDeadline } from "tapvisor/plugin";
import { digHoles } from "./dig-holes.ts";
import type { Machine } from "./machine.ts";
import type { Qmp, QmpEvent } from "./qmp.ts";
import { objectOf, textOf } from "./qmp-messages.ts";
import type { StateFile } from "./state-file.ts";

/** What of the guest's memory goes into a state: none where it lies in a template's file, all of it otherwise. */
export type CarriedMemory = "none" | "all";

/** The descriptor by which QEMU has the file of its state: its sandbox lets it open nothing by running a program. */
export const STATE_DESCRIPTOR = 3;

/** QEMU's own limit, 128 MiB a second, is for a network that others use. Bytes a second. */
const UNLIMITED = 2 ** 40;
/** How long a migration that is given up gets to end, ms: some 10 are usual. */
const CANCEL_MS = 5_000;
const OVER = new Set(["completed", "failed", "cancelled"]);

export interface MigrateOut {
  readonly memory: CarriedMemory;
  readonly file: StateFile;
  /** A QEMU that its guest has broken into must not fill the disk. */
  readonly mostBytes: number;
  /** A bound for each wait, ms. */
  readonly timeoutMs: number;
}

/**
 * Stops the guest, has QEMU write its state to a socket of ours, and the file kept: QEMU may neither run a program nor be handed a descriptor by Node. When this
 * fails the guest runs again if it ran.
 *
 * @throws VM_COMMAND_FAILED with QEMU's reason, STATE_IO when the file cannot be written, ABORTED.
 */
export async function migrateOut(machine: Machine, { memory, file, mostBytes, timeoutMs }: MigrateOut, signal: AbortSignal): Promise<void> {
  const qmp = await machine.connect();
  let over: Promise<void> | undefined;
  const listening = new AbortController(); // the end is of interest, too, when the caller has given up
  const { running } = (await qmp.execute("query-status", {}, { signal })) as { readonly running: boolean };
  try {
    await qmp.execute("stop", {}, { signal });
    await prepare(qmp, memory, signal);
    await qmp.execute("migrate-set-parameters", { "max-bandwidth": UNLIMITED }, { signal });
    await using received = await file.receive(machine.paths.state, mostBytes, signal);
    const end = endOfMigration(qmp, { signal: listening.signal, timeoutMs });
    over = end;
    await qmp.execute("migrate", { uri: `unix:${machine.paths.state}` }, { signal }).catch((error) => {
      if (isTapvisorError(error) && error.code === "VM_COMMAND_FAILED") over = undefined; // none has begun
      throw error;
    });
    await Promise.all([withDeadline({ what: "QEMU to save its state", timeoutMs, signal }, () => end), received.written]);
    if (memory === "all") await digHoles(machine, signal);
    await file.keep();
  } catch (error) {
    await qmp.execute("migrate_cancel").catch(() => {});
    await settled(over); // as long as it is being cancelled no other can begin
    if (running) await goOn(qmp); // it may have ended: the first error says so
    throw error;
  } finally {
    listening.abort();
  }
}

async function settled(over: Promise<unknown> | undefined): Promise<void> {
  const wait = { what: "a migration to be cancelled", timeoutMs: CANCEL_MS };
  await withDeadline(wait, () => Promise.allSettled([over])).catch(() => {});
}

/**
 * Lets the guest go on where the state was saved. QEMU ends by itself, with a message, when it cannot use it.
 *
 * @throws VM_COMMAND_FAILED, TIMEOUT after `timeoutMs`, ABORTED.
 */
export async function migrateIn(machine: Machine, memory: CarriedMemory, timeoutMs: number, signal: AbortSignal): Promise<void> {
  await withDeadline({ what: "QEMU to restore its state", timeoutMs, signal }, async (inner) => {
    const qmp = await machine.connect();
    await prepare(qmp, memory, inner);
    const options = { signal: inner, timeoutMs };
    const over = endOfMigration(qmp, options);
    await qmp.execute("migrate-incoming", { uri: `fd:${STATE_DESCRIPTOR}` }, options); // a file keeps QEMU from answering until it is read
    await over;
    if (memory === "all") await digHoles(machine, inner);
    await qmp.execute("cont", {}, options);
  });
}

/** What a VM was started with, or saved before, stands until it is said otherwise. The end of a migration is told, not asked for. */
async function prepare(qmp: Qmp, memory: CarriedMemory, signal: AbortSignal): Promise<void> {
  const capabilities = [
    { capability: "x-ignore-shared", state: memory === "none" },
    { capability: "events", state: true },
  ];
  await qmp.execute("migrate-set-capabilities", { capabilities }, { signal });
}

/** A migration that is being cancelled holds the guest for a moment more. */
async function goOn(qmp: Qmp): Promise<void> {
  await qmp.execute("cont").catch(() => {});
}

/** Call it before the command that begins the migration. @throws VM_COMMAND_FAILED when it has failed. */
function endOfMigration(qmp: Qmp, { signal, timeoutMs }: { readonly signal: AbortSignal; readonly timeoutMs: number }): Promise<void> {
  const isOver = ({ event, data }: QmpEvent) => event === "MIGRATION" && OVER.has(String(data.status));
  const over = qmp.waitForEvent("the end of the migration", isOver, { signal, timeoutMs }).then(async ({ data: { status } }) => {
    if (status === "completed") return;
    const told = objectOf(await qmp.execute("query-migrate", {}, { signal }));
    throw new TapvisorError("VM_COMMAND_FAILED", `Cannot migrate the VM's state: it has ${status}: ${textOf(told["error-desc"])}`, {
      data: { command: "migrate", class: "GenericError" },
    });
  });
  over.catch(() => {}); // the command itself may fail first
  return over;
}
