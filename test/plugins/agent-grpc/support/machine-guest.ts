import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, truncate, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Agent, type AgentClient, type AgentTarget, type Guest, type GuestDisk, MiB } from "tapvisor/plugin";
import { agentGrpc } from "tapvisor/plugins/agent-grpc";
import { guestLinux } from "tapvisor/plugins/guest-linux";
import { transportSerial } from "tapvisor/plugins/transport-serial";
import { quietCall } from "tapvisor/testing";
import { Qmp } from "../../../../plugins/hypervisor-qemu/qmp.ts";
import { makeExampleRootfs } from "../../../../scripts/example-rootfs.ts";
import { PluginHost } from "../../../../src/engine/plugin-host.ts";
import { tempDirectory } from "../../../support/temp.ts";

/** The bridge that disks are plugged into, on the first bus. */
const BRIDGE = 0x10;
const DISK_BYTES = 32 * MiB;

/** A running guest in a machine that the test changes itself: vCPUs, memory and disks are plugged in by QEMU's own commands. */
export interface MachineGuest extends AsyncDisposable {
  readonly agent: Agent;
  readonly target: AgentTarget;
  readonly client: AgentClient;
  readonly qmp: Qmp;
  /** The container's root file system as a disk image of its own, with busybox and its commands. */
  rootfs(name: string): Promise<string>;
  /** A disk image with this content, padded with zeros. */
  image(name: string, content: string): Promise<string>;
  plug(driver: GuestDisk["driver"], image: string, options?: { readonly readonly?: boolean }): Promise<GuestDisk>;
  plugVcpu(): Promise<void>;
  /** A card in a network of its own, whose gateway 10.0.2.2 is this host. */
  plugNic(mac: string): Promise<void>;
}

export async function machineGuest(): Promise<MachineGuest> {
  const temporary = await tempDirectory();
  const at = (name: string) => join(temporary.path, name);
  await mkdir(at("run"), { mode: 0o700 });
  makeExampleRootfs(at("rootfs"));
  const { guest, transport, agent } = await providers(temporary.path);
  const qemu = spawn("setpriv", ["--pdeathsig", "KILL", "qemu-system-x86_64", ...(await argumentsOf(guest, at))], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const dispose = async () => {
    await end(qemu);
    await temporary[Symbol.asyncDispose]();
  };
  try {
    const qmp = await connectQmp(at("qmp"), qemu);
    const endpoint = { kind: "serial", path: at("agent") } as const;
    const target = { sandbox: "box", endpoint, transport, runDirectory: at("run") };
    const client = await agent.connect(target, quietCall({ timeoutMs: 60_000 })); // waits for the boot
    let plugged = 0;
    return {
      agent,
      target,
      client,
      qmp,
      async rootfs(name) {
        const path = await blank(at(name));
        diskTool("mkfs.ext4", "-q", "-F", "-d", at("rootfs"), path);
        return path;
      },
      async image(name, content) {
        await writeFile(at(name), content);
        await truncate(at(name), MiB);
        return at(name);
      },
      async plug(driver, filename, { readonly = false } = {}) {
        const index = ++plugged;
        const [node, id] = [`node${index}`, `disk${index}`];
        const file = { driver: "file", filename, "read-only": readonly };
        await qmp.execute("blockdev-add", { driver: "raw", "node-name": node, "read-only": readonly, file });
        if (driver === "scsi") {
          await qmp.execute("device_add", { driver: "scsi-hd", id, drive: node, bus: "scsi.0", "scsi-id": 1, lun: index });
          return { driver, address: `1:${index}` };
        }
        await qmp.execute("device_add", { driver: "virtio-blk-pci", id, drive: node, bus: "bridge", addr: hex(index) });
        return { driver, address: `${hex(BRIDGE)}/${hex(index)}` };
      },
      async plugNic(mac) {
        const index = ++plugged;
        await qmp.execute("netdev_add", { type: "user", id: `net${index}` });
        const card = { driver: "virtio-net-pci", id: `nic${index}`, netdev: `net${index}`, mac, romfile: "" };
        await qmp.execute("device_add", { ...card, bus: "bridge", addr: hex(index) });
      },
      async plugVcpu() {
        const all = (await qmp.execute("query-hotpluggable-cpus")) as readonly { type: string; props: object; "qom-path"?: string }[];
        const free = all.findLast((each) => each["qom-path"] === undefined); // the last one listed is the lowest
        if (!free) throw new Error("the machine has all its vCPUs");
        await qmp.execute("device_add", { driver: free.type, id: `vcpu${++plugged}`, ...free.props });
      },
      async [Symbol.asyncDispose]() {
        await client.close();
        await qmp.close();
        await dispose();
      },
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** A program of e2fsprogs, which lies where only an administrator looks for programs. */
export function diskTool(name: string, ...args: readonly string[]): void {
  execFileSync(name, args, { stdio: "ignore", env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` } });
}

async function argumentsOf(guest: Guest, at: (name: string) => string): Promise<string[]> {
  const { kernel, initrd, image } = await guest.prepare(quietCall({ timeoutMs: 60_000 }));
  const socket = (id: string) => `socket,id=${id},path=${at(id)},server=on,wait=off`;
  return [
    ...["-machine", "q35,sata=off,smbus=off", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "cpus=1,maxcpus=3"],
    ...["-m", "512M,maxmem=2G", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...[
      "-kernel",
      kernel,
      "-initrd",
      initrd ?? "",
      "-append",
      "quiet loglevel=1 panic=1 random.trust_cpu=on nokaslr mitigations=off nopti",
    ],
    ...["-drive", `if=none,id=image,file=${image},format=raw,read-only=on`, "-device", "virtio-blk-pci,drive=image"],
    ...["-device", "virtio-serial-pci", "-chardev", socket("agent"), "-device", "virtserialport,chardev=agent,name=agent.channel.0"],
    ...["-device", "virtio-scsi-pci,id=scsi", "-device", `pci-bridge,id=bridge,chassis_nr=1,addr=${hex(BRIDGE)},shpc=on`],
    ...["-object", "memory-backend-ram,id=pool,size=1G,reserve=off", "-device", "virtio-mem-pci,id=memory,memdev=pool"],
    ...["-chardev", socket("qmp"), "-mon", "chardev=qmp,mode=control"],
  ];
}

async function providers(root: string) {
  const ours = process.getuid?.() === 0 ? "/var/cache/tapvisor" : join(homedir(), ".cache/tapvisor");
  const host = new PluginHost({ log: quietCall().log, root, cacheDirectory: process.env.TAPVISOR_CACHE ?? ours });
  await host.load([guestLinux(), transportSerial(), agentGrpc()]);
  const { slots } = host;
  return {
    guest: await slots.get("guest", "linux"),
    transport: await slots.get("transport", "serial"),
    agent: await slots.get("agent", "grpc"),
  };
}

/** QEMU makes its sockets some milliseconds after its start, and nothing announces them. */
async function connectQmp(path: string, qemu: ChildProcess): Promise<Qmp> {
  for (;;) {
    const qmp = await Qmp.connect(path).catch(() => undefined);
    if (qmp) {
      await qmp.handshake();
      return qmp;
    }
    if (qemu.exitCode !== null) throw new Error(`QEMU ended with ${qemu.exitCode}`);
    await delay(10);
  }
}

async function blank(path: string): Promise<string> {
  await writeFile(path, "");
  await truncate(path, DISK_BYTES);
  return path;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

function hex(value: number): string {
  return value.toString(16).padStart(2, "0");
}
