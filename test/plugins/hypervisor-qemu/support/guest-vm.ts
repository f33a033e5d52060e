import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { type AgentClient, type Bytes, MiB, type OciSpec, type VmGrant, type VmIntent, type VmSizing } from "tapvisor/plugin";
import { agentGrpc } from "tapvisor/plugins/agent-grpc";
import { guestLinux } from "tapvisor/plugins/guest-linux";
import { type HypervisorQemuOptions, hypervisorQemu } from "tapvisor/plugins/hypervisor-qemu";
import { transportSerial } from "tapvisor/plugins/transport-serial";
import { quietCall } from "tapvisor/testing";
import { makeExampleRootfs } from "../../../../scripts/example-rootfs.ts";
import { PluginHost } from "../../../../src/engine/plugin-host.ts";
import { tempDirectory } from "../../../support/temp.ts";

/** A running VM with the real guest, in which one container runs what it is asked. */
export interface GuestVm extends AsyncDisposable {
  readonly grant: VmGrant;
  readonly sizing: VmSizing;
  readonly client: AgentClient;
  /** The container's root file system on the host, which it sees read-only. */
  readonly rootfs: string;
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** What a line of shell prints in the container. */
  ask(line: string): Promise<string>;
}

export interface GuestVmOptions {
  readonly qemu?: HypervisorQemuOptions;
  /** `false` for a guest that is said not to drive it. */
  readonly virtioMem?: boolean;
}

export const BOOT_BYTES = 512 * MiB;
const LIMITS = { vcpus: 4, memoryBytes: (4096 * MiB) as Bytes };
const CONTAINER = "shell";
const call = () => quietCall({ timeoutMs: 60_000 });

export async function guestVm({ qemu = {}, virtioMem = true }: GuestVmOptions = {}): Promise<GuestVm> {
  const temporary = await tempDirectory();
  const at = (name: string) => join(temporary.path, name);
  const { hypervisor, guest, transport, agent } = await providers(temporary.path, qemu);
  const rootfs = at("rootfs");
  makeExampleRootfs(rootfs);
  const runDirectory = at("run");
  await mkdir(runDirectory, { mode: 0o700 });
  const boot = { ...(await guest.prepare(call())), virtioMem };
  const nonce = randomBytes(16).toString("hex");
  const memoryBytes = BOOT_BYTES as Bytes;
  const intent: VmIntent = { sandbox: "box", nonce, runDirectory, vcpus: 1, memoryBytes, limits: LIMITS, boot, detached: false };
  const { vm: holding, share } = hypervisor.holdings;
  const undo: (() => PromiseLike<unknown>)[] = [
    () => temporary[Symbol.asyncDispose](),
    () => holding.release({ intent, grant: undefined }, call()),
  ];
  const dispose = async () => {
    for (const each of undo.toReversed()) await each();
  };
  try {
    const grant = await holding.acquire(intent, call());
    const vm = await hypervisor.connect(grant, call());
    const { sizing } = vm;
    if (!share || !sizing) throw new Error("QEMU shares directories and resizes");
    undo.push(() => vm.disconnect());
    const target = { sandbox: "box", endpoint: grant.agentEndpoint, transport, runDirectory };
    const client = await agent.connect(target, call()); // waits for the boot
    undo.push(() => client.close());
    await client.createSandbox({ hostname: "box", sandbox: "box", storages: [] }, call());
    const entries = [{ name: "rootfs", source: rootfs, type: "directory", readonly: true }] as const;
    const shared = await share.acquire({ sandbox: "box", vm: grant, id: "files", directory: join(runDirectory, "files"), entries }, call());
    await startShell(client, shared.guest);
    return {
      grant,
      sizing,
      client,
      rootfs,
      pause: () => vm.pause(call()),
      resume: () => vm.resume(call()),
      ask: (line) => ask(client, line),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** The plugins by which an engine runs the real guest in QEMU. */
export async function providers(root: string, qemu: HypervisorQemuOptions = {}) {
  const ours = process.getuid?.() === 0 ? "/var/cache/tapvisor" : join(homedir(), ".cache/tapvisor");
  const host = new PluginHost({ log: quietCall().log, root, cacheDirectory: process.env.TAPVISOR_CACHE ?? ours });
  await host.load([hypervisorQemu(qemu), guestLinux(), transportSerial(), agentGrpc()]);
  return {
    hypervisor: await host.slots.get("hypervisor", "qemu"),
    guest: await host.slots.get("guest", "linux"),
    transport: await host.slots.get("transport", "serial"),
    agent: await host.slots.get("agent", "grpc"),
  };
}

/** What a guest mounts. */
interface Mountable {
  readonly fstype: string;
  readonly source: string;
  readonly driver: string;
  readonly options?: readonly string[];
}

/** Starts the container that `ask` asks, with its files in the entry `rootfs` of a share. */
export async function startShell(client: AgentClient, share: Mountable): Promise<void> {
  const loop = "while read -r line; do eval \"$line\" 2>&1; echo '<end>'; done";
  await startContainer(client, share, CONTAINER, ["sh", "-c", loop]);
}

/** Starts a container with its files in the directory `rootfs` of what is mounted. */
export async function startContainer(client: AgentClient, files: Mountable, id: string, args: readonly string[]): Promise<void> {
  const mountPoint = `/run/kata-containers/${id}`;
  const spec = specOf(`${mountPoint}/rootfs`, args);
  await client.createContainer({ container: id, storages: [{ options: [], ...files, mountPoint }], spec }, call());
  await client.startContainer(id, call());
}

/** What a line of shell prints in the container of `startShell`. */
export async function ask(client: AgentClient, line: string): Promise<string> {
  const process = { container: CONTAINER, exec: CONTAINER };
  await client.writeStdin(process, Buffer.from(`${line}\n`), call());
  let text = "";
  while (!text.endsWith("<end>\n")) {
    const data = await client.readStdout(process, MiB, call());
    if (data.length === 0) throw new Error(`the shell has ended after ${JSON.stringify(text)}`);
    text += Buffer.from(data).toString();
  }
  return text.slice(0, -"<end>\n".length).trim();
}

function specOf(path: string, args: readonly string[]): OciSpec {
  const mount = (destination: string, type: string, ...options: string[]) => ({ destination, type, source: type, options });
  return {
    ociVersion: "1.1.0",
    root: { path, readonly: true },
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args,
      env: ["PATH=/bin"],
      cwd: "/",
      capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
      noNewPrivileges: true,
    },
    mounts: [mount("/proc", "proc"), mount("/dev", "tmpfs"), mount("/sys", "sysfs", "ro"), mount("/tmp", "tmpfs", "size=2g")],
    linux: { namespaces: [{ type: "ipc" }, { type: "uts" }, { type: "mount" }], maskedPaths: [], readonlyPaths: [] },
  } as unknown as OciSpec;
}
