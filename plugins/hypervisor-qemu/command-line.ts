import { checkId, TapvisorError, toMiBCeil, type VmIntent } from "tapvisor/plugin";
import type { Accelerator } from "./accelerator.ts";
import { kernelCommandLine } from "./kernel-parameters.ts";
import { vmMark } from "./marks.ts";
import { checkSocketPath, vmPaths } from "./paths.ts";

/**
 * PCIe slots kept free for hot-plug: q35 plugs into root ports only, and those must be there at boot. A share takes one, so this is how
 * many containers a VM holds at once. Boot time does not show 8 of them; 16 cost about 0.3 s under emulation.
 */
export const HOTPLUG_PORTS = 8;

export const hotplugPort = (index: number): string => `port${index}`;

/**
 * QEMU's arguments for a VM: a function of the intent alone, so that equal intents give equal machines.
 *
 * @throws INVALID_INPUT for whatever could become another argument, another object's id, or a socket that cannot be reached.
 */
export function commandLine(intent: VmIntent, accelerator: Accelerator["name"]): string[] {
  const { boot } = check(intent);
  const paths = vmPaths(intent.runDirectory);
  const memory = `${toMiBCeil(intent.memoryBytes)}M`;
  return [
    ...["-name", `guest=${intent.sandbox}/${vmMark(intent.nonce)}`],
    ...["-machine", "q35,memory-backend=ram,sata=off,smbus=off"],
    ...(accelerator === "kvm" ? ["-accel", "kvm", "-cpu", "host"] : ["-accel", "tcg,thread=multi", "-cpu", "max"]),
    ...["-m", memory, "-smp", `cpus=${intent.vcpus}`],
    // A vhost-user server (virtiofsd) maps the guest's memory: it must be shared, and a memfd leaves no file behind.
    ...["-object", `memory-backend-memfd,id=ram,size=${memory},share=on`],
    ...["-nodefaults", "-no-user-config", "-display", "none"],
    "-no-reboot", // with panic=1 a guest that panics ends QEMU, which is seen at once
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ...[
      "-chardev",
      `socket,id=qmp,path=${doubleCommas(checkSocketPath(paths.qmp))},server=on,wait=off`,
      "-mon",
      "chardev=qmp,mode=control",
    ],
    // The console is QEMU's standard output: the log process behind it keeps a bounded tail, whatever a guest writes.
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    ...["-kernel", boot.kernel],
    ...(boot.initrd === undefined ? [] : ["-initrd", boot.initrd]),
    ...["-append", kernelCommandLine(accelerator, boot.kernelParameters)],
    ...(boot.image === undefined ? [] : imageDisk(boot.image)),
    ...["-device", "virtio-serial-pci,id=serial"],
    ...["-chardev", `socket,id=agent,path=${doubleCommas(checkSocketPath(paths.agent))},server=on,wait=off`],
    ...["-device", `virtserialport,id=agent-port,bus=serial.0,chardev=agent,name=${boot.agentPort}`],
    ...["-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=entropy"],
    ...Array.from({ length: HOTPLUG_PORTS }, (_, index) => [
      "-device",
      `pcie-root-port,id=${hotplugPort(index)},chassis=${index + 1},slot=${index + 1}`,
    ]).flat(),
  ];
}

/** Read-only at both ends. QEMU's default file locks stay on: any number of readers share the image, and a VM that would write to it is refused. */
function imageDisk(image: string): string[] {
  const node = { driver: "raw", "node-name": "image", "read-only": true, file: { driver: "file", filename: image, "read-only": true } };
  return ["-blockdev", JSON.stringify(node), "-device", "virtio-blk-pci,id=image-disk,drive=image"];
}

function check(intent: VmIntent): VmIntent {
  checkId("sandbox", intent.sandbox);
  const { boot } = intent;
  want(/^[A-Za-z0-9_-]{8,128}$/.test(intent.nonce), "nonce", intent.nonce, "8 to 128 letters, digits, _ or -");
  want(/^[A-Za-z][A-Za-z0-9_.-]{0,63}$/.test(boot.agentPort), "boot.agentPort", boot.agentPort, "a virtio-serial port's name");
  want(Number.isSafeInteger(intent.vcpus) && intent.vcpus >= 1, "vcpus", intent.vcpus, "a whole number, at least 1");
  want(Number.isSafeInteger(intent.memoryBytes) && intent.memoryBytes > 0, "memoryBytes", intent.memoryBytes, "a number of bytes above 0");
  wantPath("runDirectory", intent.runDirectory);
  wantPath("boot.kernel", boot.kernel);
  if (boot.initrd !== undefined) wantPath("boot.initrd", boot.initrd);
  if (boot.image !== undefined) wantPath("boot.image", boot.image);
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
