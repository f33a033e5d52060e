import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Agent, Bytes, Guest, Hypervisor, OciSpec, Plugin, PluginContext, ShareIntent, VmGrant, VmIntent } from "tapvisor/plugin";
import { agentFake } from "tapvisor/plugins/agent-fake";
import { hypervisorFake } from "tapvisor/plugins/hypervisor-fake";
import { FakeWorld, quietCall } from "tapvisor/testing";
import { tempDirectory } from "./temp.ts";

/** The provider that a plugin offers under a slot and a name, without an engine. */
export async function providerOf<T>(plugin: Plugin, slot: string, name: string, stateDirectory?: string): Promise<T> {
  const make = (await offersOf(plugin, stateDirectory)).get(`${slot}:${name}`);
  if (!make) throw new Error(`${plugin.name} provides no ${slot} "${name}"`);
  return (await make()) as T;
}

/** What a plugin offers, as `slot:name`. */
export async function providerNames(plugin: Plugin): Promise<readonly string[]> {
  return [...(await offersOf(plugin)).keys()];
}

async function offersOf(plugin: Plugin, stateDirectory = "/nonexistent/state"): Promise<ReadonlyMap<string, () => unknown>> {
  const offers = new Map<string, () => unknown>();
  const context = {
    name: plugin.name,
    log: quietCall().log,
    stateDirectory,
    cacheDirectory: "/nonexistent/cache",
    hooks: {},
    provide: (slot: string, name: string, make: () => unknown) => void offers.set(`${slot}:${name}`, make),
    onClose: () => {},
  };
  await plugin.apply(context as unknown as PluginContext);
  return offers;
}

/** A fake world with its hypervisor, guest and agent, and a real directory to share. */
export async function fakeWorld() {
  const world = new FakeWorld();
  const temporary = await tempDirectory();
  const rootfs = join(temporary.path, "rootfs");
  await mkdir(rootfs);
  const hypervisor = await providerOf<Hypervisor>(hypervisorFake({ world }), "hypervisor", "fake");
  const agent = await providerOf<Agent>(agentFake({ world }), "agent", "fake");
  const guest = await providerOf<Guest>(hypervisorFake({ world }), "guest", "none");
  const boot = await guest.prepare(quietCall());
  const vmIntent = (sandbox: string): VmIntent => ({
    sandbox,
    nonce: `nonce-of-${sandbox}-0123456789`,
    runDirectory: temporary.path,
    vcpus: 1,
    memoryBytes: (256 * 2 ** 20) as Bytes,
    boot,
    detached: false,
  });
  const { share } = hypervisor.holdings;
  if (!share) throw new Error("the fake hypervisor has no shares");
  return {
    world,
    rootfs,
    hypervisor: { ...hypervisor, holdings: { ...hypervisor.holdings, share } },
    agent,
    vmIntent,
    startVm: (sandbox: string) => hypervisor.holdings.vm.acquire(vmIntent(sandbox), quietCall()),
    shareIntent: (vm: VmGrant, id: string): ShareIntent => ({
      sandbox: vm.sandbox,
      vm,
      id,
      directory: join(temporary.path, id),
      entries: [{ name: "rootfs", source: rootfs, type: "directory", readonly: true }],
    }),
    async [Symbol.asyncDispose]() {
      for (const { sandbox } of world.snapshot().vms) world.killVm(sandbox);
      await temporary[Symbol.asyncDispose]();
    },
  };
}

/** A started VM with a connected agent and a created guest sandbox, and a way to make containers in it. */
export async function fakeGuest(sandbox = "web") {
  const base = await fakeWorld();
  const vm = await base.startVm(sandbox);
  const target = { sandbox, endpoint: vm.agentEndpoint, runDirectory: vm.runDirectory };
  const client = await base.agent.connect(target, quietCall());
  await client.createSandbox({ sandbox, hostname: sandbox, storages: [] }, quietCall());
  return {
    ...base,
    vm,
    target,
    client,
    /** Plugs a share, makes a container on it that runs `args`, and starts it when asked. */
    async container(id: string, args: readonly string[], { start = true, terminal = false } = {}) {
      await base.hypervisor.holdings.share.acquire(base.shareIntent(vm, `share-${id}`), quietCall());
      await client.createContainer(containerRequest(id, args, terminal), quietCall());
      if (start) await client.startContainer(id, quietCall());
      return { container: id, exec: id };
    },
  };
}

/** A container on the share `share-<id>`, with a layer of its own. */
export function containerRequest(id: string, args: readonly string[], terminal = false) {
  const share = `/run/share/${id}`;
  const spec: OciSpec = {
    ociVersion: "1.1.0",
    root: { path: `/run/rootfs/${id}`, readonly: false },
    process: { terminal, user: { uid: 0, gid: 0 }, args, env: ["NAME=a=b", "EMPTY="], cwd: "/", noNewPrivileges: true },
    mounts: [],
    linux: { namespaces: [{ type: "mount" }], maskedPaths: [], readonlyPaths: [] },
  };
  return {
    container: id,
    spec,
    storages: [
      { driver: "virtio-fs", source: `share-${id}`, fstype: "virtiofs", options: [], mountPoint: share },
      {
        driver: "overlayfs",
        source: "overlay",
        fstype: "overlay",
        options: [`lowerdir=${share}/rootfs`, "upperdir=/run/u", "workdir=/run/w"],
        mountPoint: `/run/rootfs/${id}`,
      },
    ],
  };
}
