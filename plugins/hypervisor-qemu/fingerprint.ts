import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { readFile, realpath, stat } from "node:fs/promises";
import { release } from "node:os";
import { type Bytes, type Call, GiB, type Json, TapvisorError, type VmIntent, type VmMemory } from "tapvisor/plugin";
import { type Accelerator, chooseAccelerator } from "./accelerator.ts";
import { commandLine, cpuModel } from "./command-line.ts";
import { requireProgram } from "./host-programs.ts";
import type { QemuOptions } from "./options.ts";
import { asOptions, pluggedCommands } from "./plugged.ts";
import { type MemoryDevice, sizeLimits } from "./size-limits.ts";
import { futureGrant } from "./snapshot.ts";
import { askVersionText } from "./version.ts";

/** The last answer for each set of options, with the stamps of the files it was made from: it is asked for at each creation of a VM. */
const known = new Map<string, { readonly stamp: string; readonly fingerprint: Json }>();

/**
 * What a saved VM depends on: QEMU's program, what it says it is, the machine and its processor, and the shape of our command line. Costs 0.3 ms
 * when no file has changed, and a run of `qemu --version` when one has.
 *
 * @throws HOST_MISSING without QEMU, or without the KVM that was asked for.
 */
export async function fingerprintOf(options: QemuOptions, call: Call): Promise<Json> {
  const program = await realpath(await requireProgram([options.binary], "qemu-system-x86"));
  const file = await stat(program, { bigint: true });
  const stamp = [program, stampOf(file), stampOf(await stat("/dev/kvm", { bigint: true }).catch(() => undefined))].join(" ");
  const key = JSON.stringify([options.binary, options.accelerator, options.machine]);
  const last = known.get(key);
  if (last?.stamp === stamp) return last.fingerprint;
  const fingerprint = await make(options, program, file, call);
  known.set(key, { stamp, fingerprint });
  return fingerprint;
}

async function make({ accelerator: wanted, machine }: QemuOptions, program: string, file: BigIntStats, call: Call): Promise<Json> {
  const version = await askVersionText(program, call);
  if (version === undefined) throw untold(program);
  const { name: accelerator } = await chooseAccelerator(wanted);
  const shape = createHash("sha256")
    .update(JSON.stringify(shapes(accelerator, machine)))
    .digest("hex");
  return {
    program: { path: program, bytes: Number(file.size), modified: String(file.mtimeNs), file: `${file.dev}:${file.ino}` },
    version,
    machine,
    accelerator,
    cpuModel: cpuModel(accelerator),
    hostCpu: await hostCpu(accelerator),
    ...(accelerator === "kvm" && { hostKernel: release() }),
    commandLine: shape,
  };
}

/**
 * The host's processor. With KVM it is the guest's, with all of its features; under emulation the guest's clock (its TSC) still runs at the rate of
 * this one's.
 */
async function hostCpu(accelerator: Accelerator["name"]): Promise<Json> {
  const text = await readFile("/proc/cpuinfo", "utf8");
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(text)?.[1] ?? "";
  const names = ["vendor_id", "cpu family", "model", "model name", "stepping", ...(accelerator === "kvm" ? ["microcode", "flags"] : [])];
  return Object.fromEntries(names.map((name) => [name, field(name)]));
}

/** Our command line for intents that never change, one for each of its forms: where it gives another, the code has. */
function shapes(accelerator: Accelerator["name"], machine: QemuOptions["machine"]): readonly (readonly string[])[] {
  const boot = { kernel: "/kernel", initrd: "/initrd", image: "/image", kernelParameters: ["guest"], agentPort: "agent" };
  const sizes = { vcpus: 1, memoryBytes: GiB as Bytes, limits: { vcpus: 4, memoryBytes: (4 * GiB) as Bytes } };
  const intent: VmIntent = { sandbox: "box", nonce: "0123456789abcdef", runDirectory: "/run", ...sizes, boot, detached: false };
  const memories: readonly (VmMemory | undefined)[] = [
    undefined,
    { kind: "template", file: "/memory" },
    { kind: "clone", file: "/memory", state: "/state" },
    { kind: "copy", file: "/memory", state: "/state", copy: "/copy" },
  ];
  return (["virtio-mem", "pc-dimm"] as const).flatMap((memoryDevice) => [
    ...memories.map((memory) => commandLine({ ...intent, ...(memory && { memory }) }, { accelerator, machine, memoryDevice })),
    asOptions(pluggedShape(intent, memoryDevice)),
  ]);
}

/** What is on the command line for all that can have been plugged into a VM when its snapshot was taken. */
function pluggedShape(intent: VmIntent, memoryDevice: MemoryDevice): ReturnType<typeof pluggedCommands> {
  const sizes = sizeLimits(intent, memoryDevice);
  const saved = {
    ...sizes,
    vcpus: [{ id: "cpu-1", type: "cpu", props: { "core-id": 1 } }],
    dimms: [{ slot: 0, bytes: GiB, address: 4 * GiB }],
    disks: [{ id: "scsi" }, { id: "blk", slot: 1 }],
  };
  const size = { vcpus: 2, memoryBytes: (2 * GiB) as Bytes };
  const disks = (["virtio-scsi", "virtio-blk"] as const).map((driver, index) => {
    const disk = {
      sandbox: "box",
      id: driver.slice("virtio-".length),
      path: "/disk",
      format: "raw",
      readonly: false,
      driver,
      index,
    } as const;
    return { intent: { ...disk, vm: futureGrant(intent) }, kind: "file" } as const;
  });
  return pluggedCommands({ ...intent, plugged: { size, disks: [] } }, sizes, saved, disks);
}

function stampOf(file: BigIntStats | undefined): string {
  return file ? [file.dev, file.ino, file.size, file.mtimeNs, file.ctimeNs].join(":") : "none";
}

function untold(program: string): TapvisorError {
  return new TapvisorError("HOST_MISSING", `Cannot tell the version of "${program}", wanted one that it says itself`, {
    data: { what: "QEMU", found: program },
    hint: `try it: ${program} --version`,
  });
}
