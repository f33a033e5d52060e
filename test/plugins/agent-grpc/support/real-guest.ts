import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Agent, AgentTarget, Bytes, Guest, Hypervisor, ShareIntent, Transport, TransportConnection, VmIntent } from "tapvisor/plugin";
import presetQemu from "tapvisor/plugins/preset-qemu";
import { quietCall } from "tapvisor/testing";
import { makeExampleRootfs } from "../../../../scripts/example-rootfs.ts";
import { containerConfig } from "../../../../src/config/container-config.ts";
import { guestSpec } from "../../../../src/container/spec.ts";
import { guestStorages } from "../../../../src/container/storages.ts";
import { PluginHost } from "../../../../src/engine/plugin-host.ts";
import { tempDirectory } from "../../../support/temp.ts";
import { hotDisks } from "./hot-disks.ts";

/** A running VM with the real guest, by the plugins themselves: no engine. */
export async function realGuest() {
  const temporary = await tempDirectory();
  const rootfs = join(temporary.path, "rootfs");
  makeExampleRootfs(rootfs);
  const slots = await providers(temporary.path);
  const runDirectory = join(temporary.path, "run");
  await mkdir(runDirectory, { mode: 0o700 });
  const intent: VmIntent = {
    sandbox: "box",
    nonce: randomBytes(16).toString("hex"),
    runDirectory,
    vcpus: 1,
    memoryBytes: (512 * 2 ** 20) as Bytes,
    boot: await slots.guest.prepare(quietCall({ timeoutMs: 60_000 })),
    detached: false,
  };
  const { vm, share } = slots.hypervisor.holdings;
  if (!share) throw new Error("QEMU has shares");
  const grant = await vm.acquire(intent, quietCall({ timeoutMs: 30_000 }));
  const connections = new Set<TransportConnection>();
  const transport: Transport = {
    endpoints: slots.transport.endpoints,
    async connect(endpoint, call) {
      const connection = await slots.transport.connect(endpoint, call);
      connections.add(connection);
      return connection;
    },
  };
  const target: AgentTarget = { sandbox: "box", endpoint: grant.agentEndpoint, transport, runDirectory };
  const disks = await hotDisks(grant, temporary.path);
  const dispose = async () => {
    await disks[Symbol.asyncDispose]();
    await vm.release({ intent, grant }, quietCall());
    await temporary[Symbol.asyncDispose]();
  };
  try {
    const booted = await slots.agent.connect(target, quietCall({ timeoutMs: 60_000 })); // the first connection waits for the boot
    await booted.close();
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    agent: slots.agent,
    target,
    /** Plugs a share with a rootfs in; disposing gives it back. */
    async plug(id: string, command: readonly string[]) {
      const config = containerConfig({ id, rootfs, command: [...command] });
      const entries = [{ name: "rootfs", source: rootfs, type: "directory", readonly: true }] as const;
      const shareIntent: ShareIntent = { sandbox: "box", vm: grant, id, directory: join(runDirectory, `share-${id}`), entries };
      const files = { rootfs: { type: "share", directory: rootfs } as const, disks: [] };
      const granted = await share.acquire(shareIntent, quietCall());
      return {
        request: {
          container: id,
          storages: guestStorages(config, { ...files, share: granted }),
          spec: guestSpec(config, "box", files.rootfs),
        },
        [Symbol.asyncDispose]: () => share.release({ intent: shareIntent, grant: granted }, quietCall()),
      };
    },
    /** Plugs an empty disk in; disposing takes it out. */
    disk: disks.plug,
    /** Ends the connections below the agent's. */
    async cut() {
      for (const connection of connections) await connection.close();
      connections.clear();
    },
    [Symbol.asyncDispose]: dispose,
  };
}

async function providers(root: string) {
  const cacheDirectory =
    process.env.TAPVISOR_CACHE ?? (process.getuid?.() === 0 ? "/var/cache/tapvisor" : join(homedir(), ".cache/tapvisor"));
  const host = new PluginHost({ log: quietCall().log, root, cacheDirectory });
  await host.load(presetQemu.plugins);
  return {
    hypervisor: (await host.slots.get("hypervisor", "qemu")) satisfies Hypervisor,
    guest: (await host.slots.get("guest", "linux")) satisfies Guest,
    transport: (await host.slots.get("transport", "serial")) satisfies Transport,
    agent: (await host.slots.get("agent", "grpc")) satisfies Agent,
  };
}
