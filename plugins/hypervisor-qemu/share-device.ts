import { setTimeout as delay } from "node:timers/promises";
import { type Call, isTapvisorError, TapvisorError, throwIfAborted, withDeadline } from "tapvisor/plugin";
import { HOTPLUG_PORTS, hotplugPort } from "./command-line.ts";
import type { Machine } from "./machine.ts";

/** Between two tries to reach virtiofsd's socket, ms: it appears within 10 or so, and nothing announces it. */
const CONNECT_EVERY_MS = 3;
/** Between two tries to remove a character device that is still in use, ms. */
const FREED_EVERY_MS = 5;
/** How long the guest gets to let go of a device, ms; 25 is usual. */
const UNPLUG_MS = 5_000;

const deviceOf = (id: string): string => `share-${id}`;
const chardevOf = (id: string): string => `share-socket-${id}`;

/** Connects QEMU to a share's server and plugs the device. A failure leaves neither, so far as QEMU still answers. */
export async function plugShare(machine: Machine, id: string, socket: string, failed: Promise<never>, call: Call): Promise<void> {
  await Promise.race([failed, addChardev(machine, id, socket, call)]);
  try {
    const port = await freePort(machine, id, call);
    const device = { driver: "vhost-user-fs-pci", id: deviceOf(id), chardev: chardevOf(id), tag: id, bus: port };
    await Promise.race([failed, machine.execute("device_add", device, { signal: call.signal })]);
  } catch (error) {
    await unplugShare(machine, id, { ...call, signal: new AbortController().signal }).catch((undo: unknown) =>
      call.log.warn({ err: undo, share: id }, "the share's device is left in the VM"),
    );
    throw error;
  }
}

/**
 * Takes the device out and disconnects from the server. What is not there is success.
 *
 * @throws TIMEOUT when the guest does not let go of the device within 5 s: it is paused, hangs, or has no hot-plug.
 */
export async function unplugShare(machine: Machine, id: string, { signal }: Call): Promise<void> {
  const device = deviceOf(id);
  if (await isPlugged(machine, device, signal)) {
    const qmp = await machine.connect();
    const what = `the guest to let go of share "${id}"`;
    const gone = qmp.waitForEvent(what, ({ event, data }) => event === "DEVICE_DELETED" && data.device === device, {
      signal,
      timeoutMs: UNPLUG_MS,
    });
    gone.catch(() => {});
    await machine.execute("device_del", { id: device }, { signal }).catch((error: unknown) => {
      // An earlier release may have asked already; the device may have gone since we looked.
      if (!isTapvisorError(error) || error.code !== "VM_COMMAND_FAILED" || error.data.class === "Disconnected") throw error;
    });
    if (await isPlugged(machine, device, signal)) await gone;
  }
  await removeChardev(machine, id, signal);
}

async function addChardev(machine: Machine, id: string, socket: string, { signal }: Call): Promise<void> {
  const address = { type: "unix", data: { path: socket } };
  for (;;) {
    throwIfAborted(signal, `the connection to virtiofsd of share "${id}"`);
    try {
      await machine.execute(
        "chardev-add",
        { id: chardevOf(id), backend: { type: "socket", data: { addr: address, server: false } } },
        { signal },
      );
      return;
    } catch (error) {
      const notYet = isTapvisorError(error) && error.code === "VM_COMMAND_FAILED" && /No such file|refused/.test(error.message);
      if (!notYet) throw error;
    }
    await delay(CONNECT_EVERY_MS);
  }
}

/** QEMU frees a deleted device, and with it the chardev, when its other threads have moved on; only the refusals tell that it has not yet. */
async function removeChardev(machine: Machine, id: string, signal: AbortSignal): Promise<void> {
  const label = chardevOf(id);
  await withDeadline({ what: `QEMU to free the connection of share "${id}"`, timeoutMs: UNPLUG_MS, signal }, async (inner) => {
    while (await hasChardev(machine, label, inner)) {
      const removed = await machine.execute("chardev-remove", { id: label }, { signal: inner }).then(
        () => true,
        (error: unknown) => {
          if (isTapvisorError(error) && /is busy/.test(error.message)) return false;
          throw error;
        },
      );
      if (removed) return;
      await delay(FREED_EVERY_MS, undefined, { signal: inner });
    }
  });
}

async function hasChardev(machine: Machine, label: string, signal: AbortSignal): Promise<boolean> {
  const all = (await machine.execute("query-chardev", {}, { signal })) as readonly { readonly label: string }[];
  return all.some((chardev) => chardev.label === label);
}

async function isPlugged(machine: Machine, device: string, signal: AbortSignal): Promise<boolean> {
  return (await children(machine, "/machine/peripheral", signal)).some(({ name }) => name === device);
}

/** A port whose bus has no device. QEMU's own tree says so also before the guest's firmware has numbered the buses, and after adoption. */
async function freePort(machine: Machine, id: string, { signal }: Call): Promise<string> {
  for (let index = 0; index < HOTPLUG_PORTS; index++) {
    const port = hotplugPort(index);
    const bus = await children(machine, `/machine/peripheral/${port}/${port}`, signal);
    if (!bus.some(({ name }) => name.startsWith("child["))) return port;
  }
  throw new TapvisorError(
    "HOST_LIMIT",
    `Cannot plug share "${id}": all ${HOTPLUG_PORTS} hot-plug ports of the VM are in use, wanted a free one`,
    {
      data: { what: "hot-plug ports of the VM", wanted: HOTPLUG_PORTS + 1, available: HOTPLUG_PORTS },
      hint: "remove a container from this sandbox, or use another sandbox",
    },
  );
}

async function children(machine: Machine, path: string, signal: AbortSignal): Promise<readonly { readonly name: string }[]> {
  return (await machine.execute("qom-list", { path }, { signal })) as readonly { readonly name: string }[];
}
