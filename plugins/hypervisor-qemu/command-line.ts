import { checkId, TapvisorError, toMiBCeil, type VmIntent } from "tapvisor/plugin";
import type { Accelerator } from "./accelerator.ts";
import { kernelCommandLine } from "./kernel-parameters.ts";
import { AGENT_DESCRIPTOR, QMP_DESCRIPTOR } from "./listening.ts";
import { vmMark } from "./marks.ts";
import { checkSocketPath, vmPaths } from "./paths.ts";
import { type MemoryDevice, sizeLimits } from "./size-limits.ts";
import { mappedFile, savedState } from "./vm-memory.ts";

/**
 * The bus that devices are plugged into while the VM runs: one conventional PCI bus, whose slots the guest's ACPI serves. A PCIe root port
 * would take one device each and be there at boot: 8 of them cost what this bus costs, 16 of them 0.3 s more under emulation.
 */
export const HOTPLUG_BUS = "bridge";
/** Its bridge's own slot: beyond those that QEMU gives to devices without an address. */
export const HOTPLUG_BUS_ADDRESS = 0x10;

/** Modules that a VM without virtio-mem can hold. A vhost-user server, virtiofsd say, maps each of them: QEMU's own takes 32 regions in all. */
export const DIMM_SLOTS = 16;

/** The virtio-mem device; its memory is there from the start, and costs nothing until the guest is given some. */
export const VIRTIO_MEM = "growth";

/** The devices with a name that a VM may have at its boot; whatever else it has has been plugged in. */
export const BOOT_DEVICES: readonly string[] = ["serial", "agent-port", "image-disk", "scsi", VIRTIO_MEM, HOTPLUG_BUS];

/** What the plugin decides about a VM, beside what the intent says. */
export interface MachineShape {
  readonly accelerator: Accelerator["name"];
  readonly machine: "q35" | "pc";
  readonly memoryDevice: MemoryDevice;
  /** QEMU makes no socket: it inherits those that it listens on. */
  readonly inheritsSockets?: boolean;
}

/** Their own hot-plug controller makes the firmware keep room for devices behind them; the guest needs no driver for it, since ACPI plugs. */
const BRIDGES: Readonly<Record<MachineShape["machine"], string>> = { q35: "pcie-pci-bridge", pc: "pci-bridge,chassis_nr=1" };

/**
 * QEMU's arguments for a VM: a function of its arguments alone, so that equal intents give equal machines.
 *
 * @throws INVALID_INPUT for whatever could become another argument, another object's id, or a socket that cannot be reached.
 */
export function commandLine(intent: VmIntent, { accelerator, machine, memoryDevice, inheritsSockets = false }: MachineShape): string[] {
  const { boot } = check(intent);
  const paths = vmPaths(intent.runDirectory);
  const { boot: size, limits } = sizeLimits(intent, memoryDevice);
  const memory = `${toMiBCeil(size.memoryBytes)}M`;
  const growthBytes = limits.memoryBytes - size.memoryBytes;
  return [
    ...["-name", `guest=${intent.sandbox}/${vmMark(intent.nonce)}${inheritsSockets ? `:${doubleCommas(paths.qmp)}` : ""}`],
    ...["-machine", `${machine},memory-backend=ram,dump-guest-core=off,vmport=off,sata=off,smbus=off`],
    ...["-accel", accelerator === "kvm" ? "kvm" : "tcg,thread=multi", "-cpu", cpuModel(accelerator)],
    ...["-m", growthBytes > 0 ? `${memory},slots=${DIMM_SLOTS},maxmem=${toMiBCeil(limits.memoryBytes)}M` : memory],
    ...["-smp", limits.vcpus > size.vcpus ? `cpus=${size.vcpus},maxcpus=${limits.vcpus}` : `cpus=${size.vcpus}`],
    ...["-object", memoryBackend(intent.memory, memory)],
    ...(savedState(intent.memory) === undefined ? [] : ["-incoming", "defer"]),
    ...["-nodefaults", "-no-user-config", "-display", "none"],
    "-no-reboot", // with panic=1 a guest that panics ends QEMU, which is seen at once
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ...["-chardev", listener("qmp", paths.qmp, inheritsSockets && QMP_DESCRIPTOR), "-mon", "chardev=qmp,mode=control"],
    // The console is QEMU's standard output: the log process behind it keeps a bounded tail, whatever a guest writes.
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    ...["-kernel", boot.kernel],
    ...(boot.initrd === undefined ? [] : ["-initrd", boot.initrd]),
    ...["-append", kernelCommandLine(accelerator, boot.kernelParameters)],
    ...(boot.image === undefined ? [] : imageDisk(boot.image)),
    ...["-device", "virtio-serial-pci,id=serial"],
    ...["-chardev", listener("agent", paths.agent, inheritsSockets && AGENT_DESCRIPTOR)],
    ...["-device", `virtserialport,id=agent-port,bus=serial.0,chardev=agent,name=${boot.agentPort}`],
    ...["-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=entropy"],
    ...["-device", "virtio-scsi-pci,id=scsi"],
    ...(growthBytes > 0 && memoryDevice === "virtio-mem" ? virtioMem(growthBytes) : []),
    ...["-device", `${BRIDGES[machine]},id=${HOTPLUG_BUS},addr=0x${HOTPLUG_BUS_ADDRESS.toString(16)}`],
  ];
}

/** A socket that QEMU listens on: at a path of its own making, or one that it has been given. */
function listener(id: string, path: string, descriptor: number | false): string {
  const where = descriptor === false ? `path=${doubleCommas(checkSocketPath(path))}` : `fd=${descriptor}`;
  return `socket,id=${id},${where},server=on,wait=off`;
}

/** The processor that the guest sees. */
export function cpuModel(accelerator: MachineShape["accelerator"]): string {
  return accelerator === "kvm" ? "host" : "max";
}

/** A vhost-user server (virtiofsd) maps the guest's memory: it must be shared, and a memfd leaves no file behind. A clone's is its own. */
function memoryBackend(memory: VmIntent["memory"], size: string): string {
  const file = mappedFile(memory);
  if (!file) return `memory-backend-memfd,id=ram,size=${size},share=on`;
  return `memory-backend-file,id=ram,size=${size},mem-path=${doubleCommas(file.path)},share=${file.share ? "on" : "off"}`;
}

/** Read-only at both ends. QEMU's default file locks stay on: any number of readers share the image, and a VM that would write to it is refused. */
function imageDisk(image: string): string[] {
  const node = { driver: "raw", "node-name": "image", "read-only": true, file: { driver: "file", filename: image, "read-only": true } };
  return ["-blockdev", JSON.stringify(node), "-device", "virtio-blk-pci,id=image-disk,drive=image"];
}

/** Without memory reserved for it on the host: `reserve=off`. Shared, as all of the guest's memory is. */
function virtioMem(bytes: number): string[] {
  const backend = `${VIRTIO_MEM}-ram`;
  return [
    ...["-object", `memory-backend-memfd,id=${backend},size=${toMiBCeil(bytes)}M,share=on,reserve=off`],
    ...["-device", `virtio-mem-pci,id=${VIRTIO_MEM},memdev=${backend}`],
  ];
}

function check(intent: VmIntent): VmIntent {
  checkId("sandbox", intent.sandbox);
  const { boot } = intent;
  want(/^[A-Za-z0-9_-]{8,128}$/.test(intent.nonce), "nonce", intent.nonce, "8 to 128 letters, digits, _ or -");
  want(/^[A-Za-z][A-Za-z0-9_.-]{0,63}$/.test(boot.agentPort), "boot.agentPort", boot.agentPort, "a virtio-serial port's name");
  want(Number.isSafeInteger(intent.vcpus) && intent.vcpus >= 1, "vcpus", intent.vcpus, "a whole number, at least 1");
  want(Number.isSafeInteger(intent.memoryBytes) && intent.memoryBytes > 0, "memoryBytes", intent.memoryBytes, "a number of bytes above 0");
  const { limits = intent } = intent;
  const moreVcpus = Number.isSafeInteger(limits.vcpus) && limits.vcpus >= intent.vcpus;
  want(moreVcpus, "limits.vcpus", limits.vcpus, `a whole number, at least the ${intent.vcpus} to boot with`);
  const moreMemory = Number.isSafeInteger(limits.memoryBytes) && limits.memoryBytes >= intent.memoryBytes;
  want(moreMemory, "limits.memoryBytes", limits.memoryBytes, `a number of bytes, at least the ${intent.memoryBytes} to boot with`);
  wantPath("runDirectory", intent.runDirectory);
  wantPath("boot.kernel", boot.kernel);
  if (boot.initrd !== undefined) wantPath("boot.initrd", boot.initrd);
  if (boot.image !== undefined) wantPath("boot.image", boot.image);
  for (const [field, path] of Object.entries(intent.memory ?? {})) if (field !== "kind") wantPath(`memory.${field}`, path);
  return intent;
}

/** An absolute path never starts with `-`, so it is never taken for an option. */
function wantPath(field: string, path: string): void {
  want(path.startsWith("/") && !path.includes("\0"), field, path, "an absolute path");
}

function want(holds: boolean, path: string, value: unknown, wanted: string): void {
  if (holds) return;
  throw new TapvisorError("INVALID_INPUT", `Cannot start a VM with ${path} ${JSON.stringify(value)}: wanted ${wanted}`, {
    data: { path, value, wanted },
  });
}

/** In QEMU's option lists a comma ends a value; two stand for one. */
function doubleCommas(text: string): string {
  return text.replaceAll(",", ",,");
}
