import { setTimeout as delay } from "node:timers/promises";
import { type Call, messageOf, throwIfAborted } from "tapvisor/plugin";
import { isRefusal, performSteps, undoSteps } from "./device-steps.ts";
import type { Machine } from "./machine.ts";
import { tellFullBus } from "./pci-slots.ts";
import { shareSteps } from "./vhost-user.ts";

/** Between two tries to reach virtiofsd's socket, ms: it appears within 10 or so, and nothing announces it. */
const CONNECT_EVERY_MS = 3;
/** How long virtiofsd gets from the making of its socket to opening it to the group of QEMU's user, ms. */
const OPENED_MS = 2_000;

const nameOf = (id: string): string => `share "${id}"`;

/**
 * Connects QEMU to a share's server and plugs the device. A failure, and so the server's (`failed`), leaves neither, so far as QEMU answers.
 *
 * @throws VM_LIMIT when the hot-plug bus is full, VM_COMMAND_FAILED, TIMEOUT, ABORTED.
 */
export async function plugShare(machine: Machine, id: string, socket: string, failed: Promise<never>, call: Call): Promise<void> {
  const [connection, device] = shareSteps(id, socket);
  const over = new AbortController(); // a server that has failed is not tried again
  try {
    await performSteps(machine, nameOf(id), call, async (run) => {
      const signal = AbortSignal.any([call.signal, over.signal]);
      await Promise.race([failed, whenServed(id, () => run(connection), signal)]);
      await Promise.race([failed, run(device)]);
    });
  } catch (error) {
    throw tellFullBus(error, nameOf(id));
  } finally {
    over.abort();
  }
}

/**
 * Takes the device out and disconnects from the server. What is not there is success.
 *
 * @throws TIMEOUT when the guest does not let go of the device within 5 s: it is paused, hangs, or has no hot-plug. DEVICE_IN_USE when it
 * refuses.
 */
export async function unplugShare(machine: Machine, id: string, signal: AbortSignal): Promise<void> {
  await undoSteps(machine, nameOf(id), shareSteps(id, "/"), signal); // taking it back names no socket
}

async function whenServed(id: string, connect: () => Promise<void>, signal: AbortSignal): Promise<void> {
  let deniedAt: number | undefined;
  for (;;) {
    throwIfAborted(signal, `the connection to virtiofsd of share "${id}"`);
    try {
      return await connect();
    } catch (error) {
      if (!isRefusal(error) || !/No such file|refused|Permission denied/.test(messageOf(error))) throw error;
      if (/Permission denied/.test(messageOf(error))) deniedAt ??= performance.now();
      if (deniedAt !== undefined && performance.now() - deniedAt > OPENED_MS) throw error;
    }
    await delay(CONNECT_EVERY_MS);
  }
}
