import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { errnoOf, isTapvisorError, MiB, messageOf, TapvisorError, throwIfAborted, toError, withDeadline } from "tapvisor/plugin";
import type { Machine } from "./machine.ts";
import { checkSocketPath } from "./paths.ts";
import type { Qmp, QmpEvent } from "./qmp.ts";
import { objectOf, textOf } from "./qmp-messages.ts";

/** 20 ms is usual. */
const SAVE_MS = 30_000;
const RESTORE_MS = 30_000;
/** The state of the devices is 0.4 MiB: a QEMU that its guest has broken into must not fill the disk. */
const MOST_STATE_BYTES = 64 * MiB;
/** The descriptor by which a clone's QEMU has the file of its state: its sandbox lets it open nothing by running a program. */
export const STATE_DESCRIPTOR = 3;

/** Shared memory lies in the template's own file and does not migrate; the end of a migration is told, not asked for. */
const CAPABILITIES = ["x-ignore-shared", "events"].map((capability) => ({ capability, state: true }));
const OVER = new Set(["completed", "failed", "cancelled"]);

/**
 * Stops the guest and writes the state of its devices to a new file. QEMU sends it to a socket of ours: it may neither run a program nor be handed a
 * descriptor by Node. When this fails the file is gone and the guest runs again.
 *
 * @throws VM_COMMAND_FAILED with QEMU's reason, STATE_IO when the file cannot be written, TIMEOUT after 30 s, ABORTED.
 */
export async function saveState(machine: Machine, file: string, signal: AbortSignal): Promise<void> {
  await withDeadline({ what: "QEMU to save its state", timeoutMs: SAVE_MS, signal }, async (inner) => {
    const qmp = await machine.connect();
    await qmp.execute("stop", {}, { signal: inner });
    try {
      await qmp.execute("migrate-set-capabilities", { capabilities: CAPABILITIES }, { signal: inner });
      await using received = await receive(machine.paths.state, file, inner);
      const over = endOfMigration(qmp, inner);
      await qmp.execute("migrate", { uri: `unix:${received.socket}` }, { signal: inner });
      await Promise.all([over, received.written]);
    } catch (error) {
      await goOn(qmp, file);
      throw error;
    }
  });
}

/** Lets the guest of a clone go on where its template was. QEMU ends by itself, with a message, when it cannot use the state. */
export async function restoreState(machine: Machine, signal: AbortSignal): Promise<void> {
  await withDeadline({ what: "QEMU to restore its state", timeoutMs: RESTORE_MS, signal }, async (inner) => {
    const qmp = await machine.connect();
    await qmp.execute("migrate-set-capabilities", { capabilities: CAPABILITIES }, { signal: inner });
    const over = endOfMigration(qmp, inner);
    await qmp.execute("migrate-incoming", { uri: `fd:${STATE_DESCRIPTOR}` }, { signal: inner });
    await over;
    await qmp.execute("cont", {}, { signal: inner });
  });
}

/** Call it before the command that begins the migration. @throws VM_COMMAND_FAILED when it has failed. */
function endOfMigration(qmp: Qmp, signal: AbortSignal): Promise<void> {
  const isOver = ({ event, data }: QmpEvent) => event === "MIGRATION" && OVER.has(String(data.status));
  const over = qmp.waitForEvent("the end of the migration", isOver, { signal, timeoutMs: SAVE_MS }).then(async ({ data: { status } }) => {
    if (status === "completed") return;
    const told = objectOf(await qmp.execute("query-migrate", {}, { signal }));
    throw new TapvisorError("VM_COMMAND_FAILED", `Cannot migrate the VM's state: it has ${status}: ${textOf(told["error-desc"])}`, {
      data: { command: "migrate", class: "GenericError" },
    });
  });
  over.catch(() => {}); // the command itself may fail first
  return over;
}

/** The guest runs again, whatever became of the migration; nobody is to take what there is of the file for a state. */
async function goOn(qmp: Qmp, file: string): Promise<void> {
  await rm(file, { force: true }).catch(() => {});
  await qmp.execute("migrate_cancel").catch(() => {});
  await qmp.execute("cont").catch(() => {}); // it may have ended: the first error says so
}

interface Received extends AsyncDisposable {
  readonly socket: string;
  /** Settles when all that was sent is on the disk. */
  readonly written: Promise<void>;
}

/** Writes what one client sends to a socket into a new file. */
async function receive(socket: string, file: string, signal: AbortSignal): Promise<Received> {
  const server = createServer({ allowHalfOpen: false });
  await rm(checkSocketPath(socket), { force: true }); // one that a dead process has left
  server.listen(socket);
  await once(server, "listening", { signal });
  const written = once(server, "connection", { signal }).then(([client]) => writeAll(client as Socket, file, signal));
  written.catch(() => {});
  return { socket, written, [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())) };
}

async function writeAll(client: Socket, file: string, signal: AbortSignal): Promise<void> {
  try {
    await pipeline(client, atMost(MOST_STATE_BYTES), createWriteStream(file, { flags: "wx", mode: 0o600, flush: true }), { signal });
  } catch (cause) {
    client.destroy();
    throwIfAborted(signal, "saving the VM's state");
    throw isTapvisorError(cause) ? cause : stateFailed("write", file, cause);
  }
}

function atMost(bytes: number): Transform {
  let left = bytes;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      left -= chunk.length;
      done(left < 0 ? new Error(`QEMU sends more than ${bytes} bytes`) : null, chunk);
    },
  });
}

function stateFailed(operation: string, file: string, cause: unknown): TapvisorError {
  return new TapvisorError("STATE_IO", `Cannot ${operation} the VM's state "${file}": ${messageOf(cause)}`, {
    data: { file, operation, errno: errnoOf(toError(cause)) },
    hint: "look at the free space and the permissions of that directory",
    cause,
  });
}
