import type { Socket } from "node:net";
import pino from "pino";
import { type Bytes, type Call, identifyProcess, MiB, type ProcessIdentity, type VmGrant, type VmSizing } from "tapvisor/plugin";
import { Machine } from "../../../../plugins/hypervisor-qemu/machine.ts";
import { type MemoryDevice, sizeLimits } from "../../../../plugins/hypervisor-qemu/size-limits.ts";
import { vmSizing } from "../../../../plugins/hypervisor-qemu/sizing.ts";
import { answer, event, fakeQmp, type Request } from "./fake-qmp.ts";

export const BOOT_BYTES = 512 * MiB;
const MOST_VCPUS = 4;

export interface SizedVmOptions {
  readonly memoryDevice?: MemoryDevice;
  readonly accelerator?: "tcg" | "kvm";
  readonly bootVcpus?: number;
  readonly limitBytes?: number;
  /** Takes a command in place of the script, when it returns `true`. */
  readonly intercept?: (request: Request, vm: SizedVm, socket: Socket) => boolean;
  /** Whose end is QEMU's; this process by default, which does not end. */
  readonly identity?: ProcessIdentity;
}

/** A QEMU that exists in a script alone: vCPUs, modules, and a virtio-mem device whose guest does at once what it is asked, without a word. */
export interface SizedVm extends AsyncDisposable {
  readonly sizing: VmSizing;
  readonly machine: Machine;
  /** The commands that change something, in order. */
  readonly changes: string[];
  /** The indexes of the vCPUs that are plugged in after the boot. */
  readonly vcpus: Set<number>;
  /** The modules' sizes by their slots. */
  readonly dimms: Map<number, number>;
  /** What is behind the modules, by name; with the size. */
  readonly objects: Map<string, number>;
  readonly growth: { size: number; requested: number };
  hangUp(): void;
}

export async function sizedVm({
  memoryDevice = "virtio-mem",
  accelerator = "tcg",
  bootVcpus = 1,
  limitBytes = 4096 * MiB,
  intercept = () => false,
  identity,
}: SizedVmOptions = {}): Promise<SizedVm> {
  const server = await fakeQmp((request, socket) => {
    const { execute, arguments: args } = request;
    if (!/^(query-|qom-(list|get))/.test(execute)) vm.changes.push(changeOf(execute, args));
    if (!intercept(request, vm, socket)) answer(socket, request, perform(vm, request, bootVcpus));
  });
  const own = identity ?? (await identifyProcess(process.pid));
  if (!own) throw new Error("this process runs");
  const machine = new Machine("nonce", own, { qmp: server.path, agent: "/none", console: "/none", stderr: "/none", state: "/none" });
  const limits = { vcpus: MOST_VCPUS, memoryBytes: limitBytes as Bytes };
  const details = sizeLimits({ vcpus: bootVcpus, memoryBytes: BOOT_BYTES as Bytes, limits }, memoryDevice);
  const grant = { sandbox: "box", accelerator, runDirectory: "/none", details } as unknown as VmGrant;
  const sizing = vmSizing(machine, grant);
  if (!sizing) throw new Error("the grant says how far it goes");
  const vm: SizedVm = {
    sizing,
    machine,
    changes: [],
    vcpus: new Set(),
    dimms: new Map(),
    objects: new Map([["ram", BOOT_BYTES]]),
    growth: { size: 0, requested: 0 },
    hangUp: server.hangUp,
    async [Symbol.asyncDispose]() {
      await machine.detach();
      await server[Symbol.asyncDispose]();
    },
  };
  return vm;
}

export function callFor(timeoutMs = 20_000): Call {
  return { signal: AbortSignal.timeout(timeoutMs), log: pino({ level: "silent" }) };
}

/** `device_del cpu-1`, `qom-set requested-size 134217728`, `device_add cpu-1 {…}`. */
function changeOf(command: string, { id, property, value, ...rest }: Request["arguments"]): string {
  if (command === "qom-set") return `${command} ${String(property)} ${String(value)}`;
  const others = Object.keys(rest).length === 0 ? "" : ` ${JSON.stringify(rest)}`;
  return `${command} ${String(id)}${others}`;
}

export function refuse(socket: Socket, { id }: Request, desc: string, name = "GenericError"): boolean {
  socket.write(`${JSON.stringify({ error: { class: name, desc }, id })}\r\n`);
  return true;
}

export function deleted(socket: Socket, device: string): void {
  event(socket, "DEVICE_DELETED", { device, path: `/machine/peripheral/${device}` });
}

/** What QEMU answers when it has done it. */
function perform(vm: SizedVm, { execute, arguments: args }: Request, bootVcpus: number): unknown {
  const [kind, number] = String(args.id).split("-");
  const key = Number(number);
  switch (execute) {
    case "query-hotpluggable-cpus":
      return vcpusOf(vm, bootVcpus).toReversed();
    case "query-memory-devices":
      return [...vm.dimms].map(([slot, size]) => ({ type: "dimm", data: dimmOf(slot, size) }));
    case "query-memory-size-summary":
      return { "base-memory": BOOT_BYTES, "plugged-memory": [...vm.dimms.values()].reduce((a, b) => a + b, vm.growth.size) };
    case "qom-list": {
      const devices = [...[...vm.vcpus].map((index) => `cpu-${index}`), ...[...vm.dimms.keys()].map((slot) => `dimm-${slot}`)];
      return (args.path === "/objects" ? [...vm.objects.keys()] : devices).map((name) => ({ name }));
    }
    case "qom-get":
      return vm.growth.size;
    case "qom-set":
      vm.growth.requested = Number(args.value);
      vm.growth.size = vm.growth.requested;
      return {};
    case "object-add":
      vm.objects.set(String(args.id), Number(args.size));
      return {};
    case "object-del":
      vm.objects.delete(String(args.id));
      return {};
    case "device_add":
      if (kind === "cpu") vm.vcpus.add(key);
      else vm.dimms.set(key, vm.objects.get(String(args.memdev)) ?? 0);
      return {};
    case "device_del":
      if (kind === "cpu") vm.vcpus.delete(key);
      else vm.dimms.delete(key);
      return {};
  }
  throw new Error(`the script does not know ${execute}`);
}

function vcpusOf({ vcpus }: SizedVm, bootVcpus: number): object[] {
  return Array.from({ length: MOST_VCPUS }, (_, index) => {
    const boot = index < bootVcpus ? { "qom-path": `/machine/unattached/device[${index}]` } : {};
    const plugged = vcpus.has(index) ? { "qom-path": `/machine/peripheral/cpu-${index}` } : {};
    return { type: "max-x86_64-cpu", "vcpus-count": 1, props: { "core-id": index, "thread-id": 0, "socket-id": 0 }, ...boot, ...plugged };
  });
}

function dimmOf(slot: number, size: number): object {
  return { id: `dimm-${slot}`, slot, size, memdev: `/objects/dimm-${slot}-ram`, addr: 4294967296, node: 0, hotplugged: true };
}
