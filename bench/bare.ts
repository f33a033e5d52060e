import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import type { AgentClient, BootAssets, Call, Slots } from "tapvisor/plugin";
import presetQemu from "tapvisor/plugins/preset-qemu";
import { chooseAccelerator } from "../plugins/hypervisor-qemu/accelerator.ts";
import { commandLine } from "../plugins/hypervisor-qemu/command-line.ts";
import { sandboxConfig } from "../src/config/sandbox-config.ts";
import { PluginHost } from "../src/engine/plugin-host.ts";

const log = pino({ level: "silent" });

/** The pieces that a bare run shares with the engine: the guest's files, the transport and the agent's client; nothing that keeps books. */
export interface Parts {
  readonly boot: BootAssets;
  readonly transport: Slots["transport"];
  readonly agent: Slots["agent"];
  readonly accelerator: "kvm" | "tcg";
  readonly call: Call;
}

export async function parts(): Promise<Parts> {
  const call: Call = { signal: AbortSignal.timeout(3_600_000), log };
  const host = new PluginHost({ log, root: "/nonexistent", cacheDirectory: process.env.TAPVISOR_CACHE ?? "/var/cache/tapvisor" });
  await host.load(presetQemu.plugins);
  const guest = await host.slots.get("guest", "linux");
  return {
    boot: await guest.prepare(call),
    transport: await host.slots.get("transport", "serial"),
    agent: await host.slots.get("agent", "grpc"),
    accelerator: (await chooseAccelerator("auto")).name,
    call,
  };
}

/** A VM of the very same command line, started by nothing but `spawn`. */
export class BareVm implements AsyncDisposable {
  readonly directory: string;
  readonly #child: ChildProcess;

  private constructor(directory: string, child: ChildProcess) {
    this.directory = directory;
    this.#child = child;
  }

  static async start({ boot, accelerator }: Parts, memory: number): Promise<BareVm> {
    const directory = await mkdtemp(join(tmpdir(), "tv-bare-"));
    const { vcpus, memoryBytes, limits } = sandboxConfig({ memory }); // room to grow included, as the engine's VMs have it
    const size = { vcpus, memoryBytes, limits };
    const intent = { sandbox: "bare", nonce: "0123456789abcdef", runDirectory: directory, ...size, boot, detached: false };
    const shape = { accelerator, machine: "q35", memoryDevice: boot.virtioMem ? "virtio-mem" : "pc-dimm" } as const;
    const child = spawn("qemu-system-x86_64", commandLine(intent, shape), { stdio: ["ignore", "pipe", "ignore"] });
    child.stdout?.resume(); // until somebody listens
    return new BareVm(directory, child);
  }

  /** What the guest says on its console. */
  get console(): Readable {
    if (!this.#child.stdout) throw new Error("QEMU has no standard output");
    return this.#child.stdout;
  }

  get agentSocket(): string {
    return join(this.directory, "agent.sock");
  }

  /** The agent's first answer, by the same client as the engine's. */
  async firstAnswer({ transport, agent, call }: Parts): Promise<AgentClient> {
    (await this.connected()).destroy();
    const endpoint = { kind: "serial", path: this.agentSocket } as const;
    return agent.connect({ sandbox: "bare", endpoint, transport, runDirectory: this.directory }, call);
  }

  /** A connection to the agent's port, as soon as QEMU listens. */
  async connected(): Promise<Socket> {
    for (;;) {
      const socket = connect(this.agentSocket);
      const connected = await once(socket, "connect").then(
        () => true,
        () => false,
      );
      if (connected) return socket;
      await delay(2); // QEMU tells nobody when its sockets are there
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
    await rm(this.directory, { recursive: true, force: true });
  }
}
