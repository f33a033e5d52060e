import { type Call, formatBytes, type Resized, throwIfAborted } from "tapvisor/plugin";
import { VIRTIO_MEM } from "./command-line.ts";
import { checkHostMemory } from "./host-memory.ts";
import type { Machine } from "./machine.ts";
import { requestVirtioMem } from "./plan-resize.ts";

/** How long the guest gets where the caller gives it longer, ms. Under emulation it gives back 1 GiB in 4 s, and takes it in 0.1 s. */
const SETTLES_MS = 60_000;
/**
 * Between two looks at the size, ms. QEMU tells of the first change at once and of those in the second after it only at its end, and an event is
 * lost when the control connection is made anew: waiting for events alone would add up to a second to each resize.
 */
const LOOK_EVERY_MS = 10;

export interface MemoryTarget {
  readonly sandbox: string;
  /** What it booted with, bytes. */
  readonly boot: number;
  /** A total that is no less. */
  readonly target: number;
}

/**
 * Has the guest take or give back memory until the VM has `target`. What it has not taken within 60 s, or when `call.signal` fires, it is not
 * given any more; what it has not given back it is still asked for.
 */
export async function resizeVirtioMem(machine: Machine, { sandbox, boot, target }: MemoryTarget, { signal }: Call): Promise<Resized> {
  const wanted = target - boot;
  const before = await sizeOf(machine);
  if (wanted > before) {
    await checkHostMemory(sandbox, wanted - before);
    throwIfAborted(signal, `growing the VM of sandbox "${sandbox}"`);
  }
  await request(machine, wanted);
  const size = await settled(machine, wanted, AbortSignal.any([signal, AbortSignal.timeout(SETTLES_MS)]));
  if (size === wanted) return { reached: target };
  const [moved, all] = [formatBytes(Math.abs(size - before)), formatBytes(Math.abs(wanted - before))];
  if (size > wanted) return { reached: boot + size, shortfall: `the guest has given back ${moved} of ${all} so far` };
  await request(machine, size); // nothing comes later that nobody counts any more
  const driver = size === 0 ? ": it may have no driver for virtio-mem" : "";
  return { reached: boot + (await sizeOf(machine)), shortfall: `the guest has taken ${moved} of ${all}${driver}` };
}

/** Under no caller's signal: a request without an answer could be fulfilled later. QEMU has 10 s. */
async function request(machine: Machine, bytes: number): Promise<void> {
  const { command, arguments: args } = requestVirtioMem(bytes);
  await machine.execute(command, args);
}

async function settled(machine: Machine, wanted: number, signal: AbortSignal): Promise<number> {
  for (;;) {
    const size = await sizeOf(machine);
    if (size === wanted || signal.aborted) return size;
    await nextChange(machine, signal);
  }
}

/** A change, or time for a look: the look finds out, also that there is no connection any more. */
async function nextChange(machine: Machine, signal: AbortSignal): Promise<void> {
  try {
    const qmp = await machine.connect();
    const what = "a change of the guest's memory";
    await qmp.waitForEvent(what, ({ event, data }) => event === "MEMORY_DEVICE_SIZE_CHANGE" && data.id === VIRTIO_MEM, {
      signal,
      timeoutMs: LOOK_EVERY_MS,
    });
  } catch {}
}

async function sizeOf(machine: Machine): Promise<number> {
  const { path } = requestVirtioMem(0).arguments;
  return (await machine.execute("qom-get", { path, property: "size" })) as number;
}
