import { type DiskIntent, type PlannedCommand, TapvisorError, type VmGrant, type VmIntent } from "tapvisor/plugin";
import { BOOT_DEVICES } from "./command-line.ts";
import { diskSteps } from "./disk-device.ts";
import type { DiskSource } from "./disk-source.ts";
import type { Machine } from "./machine.ts";
import { dimmId, plugDimm, plugVcpu } from "./plan-resize.ts";
import { queryDimms } from "./resize-dimms.ts";
import { PLUGGED_AT, queryVcpus } from "./resize-vcpus.ts";
import type { SizeLimits } from "./size-limits.ts";
import type { SavedMachine } from "./snapshot-header.ts";

interface Peripheral {
  readonly name: string;
  /** `child<scsi-hd>`. */
  readonly type: string;
}

/** How what can be carried is named: disks, vCPUs and memory modules. */
const CARRIED = /^(disk|cpu|dimm)-/;

/** The devices of a VM that it did not boot with. */
export async function pluggedDevices(machine: Machine, signal: AbortSignal): Promise<readonly Peripheral[]> {
  const all = (await machine.execute("qom-list", { path: "/machine/peripheral" }, { signal })) as readonly Peripheral[];
  return all.filter(({ name, type }) => type.startsWith("child<") && !BOOT_DEVICES.includes(name));
}

/**
 * What a VM is, and where in it stands what has been plugged in.
 *
 * @throws UNSUPPORTED naming the device when a part of its state is in a process or a device of the host: a share's server keeps files open for the
 * guest, and no QEMU can save what is in them.
 */
export async function describeMachine(
  machine: Machine,
  { sandbox }: VmGrant,
  { boot, limits, memoryDevice }: SizeLimits,
  signal: AbortSignal,
): Promise<SavedMachine> {
  const devices = await pluggedDevices(machine, signal);
  const foreign = devices.find(({ name }) => !CARRIED.test(name));
  if (foreign) throw uncarried(sandbox, foreign);
  const disks = devices.filter(({ name }) => name.startsWith("disk-"));
  const vcpus = (await queryVcpus(machine, signal)).flatMap(({ "qom-path": path = "", type, props }) => {
    return path.startsWith(PLUGGED_AT) ? [{ id: path.slice(PLUGGED_AT.length), type, props: { ...props } }] : [];
  });
  const dimms = (await queryDimms(machine)).map(({ slot, size, addr }) => ({ slot, bytes: size, address: addr }));
  return {
    boot,
    limits,
    memoryDevice,
    vcpus,
    dimms,
    disks: await Promise.all(disks.map((disk) => placeOf(machine, disk, signal))),
  };
}

async function placeOf(machine: Machine, { name, type }: Peripheral, signal: AbortSignal): Promise<SavedMachine["disks"][number]> {
  const id = name.slice("disk-".length);
  if (!type.includes("virtio-blk")) return { id };
  const devfn = await machine.execute("qom-get", { path: `/machine/peripheral/${name}`, property: "addr" }, { signal });
  return { id, slot: Number(devfn) >> 3 };
}

/**
 * The commands that would plug in what a snapshot's machine had, each thing where it was.
 *
 * @throws INVALID_INPUT naming what does not fit: the machine, or what is to be plugged in.
 */
export function pluggedCommands(
  { vcpus, memoryBytes, plugged, sandbox }: VmIntent,
  sizes: SizeLimits,
  saved: SavedMachine,
  disks: readonly { readonly intent: DiskIntent; readonly kind: DiskSource["kind"] }[],
): readonly PlannedCommand[] {
  for (const field of ["boot", "limits", "memoryDevice"] as const) {
    if (JSON.stringify(sizes[field]) !== JSON.stringify(saved[field])) throw unlike(sandbox, field, sizes[field], saved[field]);
  }
  const size = plugged?.size ?? { vcpus, memoryBytes };
  const savedVcpus = saved.boot.vcpus + saved.vcpus.length;
  if (size.vcpus !== savedVcpus) throw unlike(sandbox, "plugged.size.vcpus", size.vcpus, savedVcpus);
  const ids = (list: readonly { readonly id: string }[]) => list.map(({ id }) => id).sort();
  const [wanted, found] = [ids(disks.map(({ intent }) => intent)), ids(saved.disks)];
  if (wanted.join() !== found.join()) throw unlike(sandbox, "plugged.disks", wanted, found);
  return [
    ...saved.vcpus.map(({ id, type, props }) => withArguments(plugVcpu(0, { type, props }), { id })),
    ...saved.dimms.flatMap(({ slot, bytes, address }) => {
      const [memory, module] = plugDimm(slot, bytes);
      return [memory, withArguments(module, { addr: address, id: dimmId(slot) })];
    }),
    ...disks.flatMap(({ intent, kind }) => {
      const [node, device] = diskSteps(intent, kind);
      const slot = saved.disks.find(({ id }) => id === intent.id)?.slot;
      if ((slot !== undefined) !== (intent.driver === "virtio-blk")) {
        throw unlike(sandbox, "plugged.disks.driver", intent.driver, slot === undefined ? "virtio-scsi" : "virtio-blk");
      }
      return [node.command, withArguments(device.command, slot === undefined ? {} : { addr: slot.toString(16) })];
    }),
  ];
}

/** As words of the command line. The serial numbers of disks are what the id of each makes them. */
export function asOptions(commands: readonly PlannedCommand[]): string[] {
  const options: Readonly<Record<string, string>> = { device_add: "-device", "object-add": "-object", "blockdev-add": "-blockdev" };
  return commands.flatMap(({ command, arguments: args }) => [options[command] ?? command, JSON.stringify(args)]);
}

function withArguments({ command, arguments: args }: PlannedCommand, more: PlannedCommand["arguments"]): PlannedCommand {
  return { command, arguments: { ...args, ...more } };
}

function uncarried(sandbox: string, { name, type }: Peripheral): TapvisorError {
  const driver = /^child<(.*)>$/.exec(type)?.[1] ?? type;
  return new TapvisorError("UNSUPPORTED", `Cannot save the VM of sandbox "${sandbox}" whole: it has the device "${name}" (${driver})`, {
    data: { what: `a snapshot with the device "${name}" (${driver})`, by: "qemu" },
    hint: "what the host shares with a VM or lends to it is not in its memory: use disks",
  });
}

function unlike(sandbox: string, path: string, value: unknown, wanted: unknown): TapvisorError {
  const text = `${path} is ${JSON.stringify(value)}, wanted ${JSON.stringify(wanted)}, as when it was saved`;
  return new TapvisorError("INVALID_INPUT", `Cannot start the VM of sandbox "${sandbox}" from a snapshot: ${text}`, {
    data: { path, value, wanted: JSON.stringify(wanted) },
  });
}
