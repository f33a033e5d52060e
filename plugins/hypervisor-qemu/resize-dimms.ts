import {
  type Call,
  formatBytes,
  isTapvisorError,
  messageOf,
  type PlannedCommand,
  type Resized,
  TapvisorError,
  throwIfAborted,
} from "tapvisor/plugin";
import { DIMM_SLOTS } from "./command-line.ts";
import { isRefusal } from "./device-steps.ts";
import { checkHostMemory } from "./host-memory.ts";
import type { Machine } from "./machine.ts";
import { plugDimm, removeDimmMemory } from "./plan-resize.ts";
import type { MemoryTarget } from "./resize-virtio-mem.ts";
import { resized, whyKept } from "./resized.ts";
import { unplugDevice } from "./unplug-device.ts";

interface Dimm {
  readonly id: string;
  readonly slot: number;
  readonly size: number;
  readonly addr: number;
  /** The path of the memory behind it. */
  readonly memdev: string;
}

/** What `plugDimm` names the memory behind a module. */
const MEMORY = /^dimm-\d+-ram$/;

/**
 * Plugs one module in, or takes out whole ones, the newest first, as long as `target` is left. The guest gets 5 s for each, and the caller's
 * signal ends it earlier.
 */
export async function resizeDimms(machine: Machine, { sandbox, boot, target }: MemoryTarget, call: Call): Promise<Resized> {
  await sweep(machine, call);
  const dimms = await queryDimms(machine);
  const now = boot + sum(dimms);
  if (target > now) return grow(machine, { sandbox, boot, target }, dimms, call);
  if (target === now) return { reached: now };
  const kept = await shrink(machine, dimms, now - target, call.signal);
  await sweep(machine, call);
  return resized(boot + sum(await queryDimms(machine)), target, kept);
}

async function grow(machine: Machine, { sandbox, boot, target }: MemoryTarget, dimms: readonly Dimm[], call: Call): Promise<Resized> {
  const now = boot + sum(dimms);
  const bytes = target - now;
  await checkHostMemory(sandbox, bytes);
  throwIfAborted(call.signal, `growing the VM of sandbox "${sandbox}"`);
  const [memory, module] = plugDimm(freeSlot(sandbox, now, target, dimms), bytes);
  try {
    for (const command of [memory, module]) await run(machine, command);
    return { reached: target };
  } catch (error) {
    await sweep(machine, call).catch((failed: unknown) => call.log.warn({ err: failed }, "memory without a module is left in QEMU"));
    if (!isRefusal(error)) throw error;
    return { reached: now, shortfall: messageOf(error) };
  }
}

/** After the highest one, so that the newest module is the one with the highest slot, for as long as there is such a slot. */
function freeSlot(sandbox: string, now: number, target: number, dimms: readonly Dimm[]): number {
  const taken = dimms.map(({ slot }) => slot);
  const next = Math.max(-1, ...taken) + 1;
  const free = next < DIMM_SLOTS ? next : Array.from({ length: DIMM_SLOTS }, (_, slot) => slot).find((slot) => !taken.includes(slot));
  if (free !== undefined) return free;
  const found = `it has ${formatBytes(now)}, and modules in all its ${DIMM_SLOTS} slots`;
  throw new TapvisorError("VM_LIMIT", `Cannot grow the VM of sandbox "${sandbox}" to ${formatBytes(target)} of memory: ${found}`, {
    data: { what: "memory", wanted: target, available: now },
    hint: "ask for more memory at a time, or for more when the sandbox is created",
  });
}

/** Gives back at most `excess` bytes. Why there is a rest, if there is one. */
async function shrink(machine: Machine, dimms: readonly Dimm[], excess: number, signal: AbortSignal): Promise<string> {
  const reasons: string[] = [];
  let rest = excess;
  for (const { id, size } of dimms.toSorted((a, b) => b.slot - a.slot)) {
    if (size > rest) continue;
    try {
      await unplugDevice(machine, { id, what: `memory "${id}"`, signal });
      rest -= size;
    } catch (error) {
      const why = whyKept(error);
      if (why === undefined) throw error;
      reasons.push(why);
      if (!isTapvisorError(error) || error.code !== "DEVICE_IN_USE") break; // a guest that does not answer for one does not for the next
    }
  }
  const [first = `memory is given back by whole modules, and each that is left is larger than ${formatBytes(rest)}`] = reasons;
  return first;
}

/** Removes memory that no module has: that of one which has gone, however late, or whose plug was cut short. */
async function sweep(machine: Machine, { log }: Call): Promise<void> {
  const objects = (await machine.execute("qom-list", { path: "/objects" })) as readonly { readonly name: string }[];
  const used = new Set((await queryDimms(machine)).map(({ memdev }) => memdev));
  for (const { name } of objects) {
    if (!MEMORY.test(name) || used.has(`/objects/${name}`)) continue;
    await run(machine, removeDimmMemory(name)).catch((error: unknown) => {
      if (!isRefusal(error)) throw error;
      log.warn({ err: error, object: name }, "memory without a module is left in QEMU");
    });
  }
}

/** The modules there are. */
export async function queryDimms(machine: Machine): Promise<Dimm[]> {
  const devices = (await machine.execute("query-memory-devices")) as readonly {
    readonly type: string;
    readonly data: Dimm;
  }[];
  return devices.filter(({ type }) => type === "dimm").map(({ data }) => data);
}

/** Under no caller's signal, as all of this file: a command without an answer may take effect later. QEMU has 10 s for each. */
async function run(machine: Machine, { command, arguments: args }: PlannedCommand): Promise<void> {
  await machine.execute(command, args);
}

function sum(dimms: readonly Dimm[]): number {
  return dimms.reduce((total, { size }) => total + size, 0);
}
