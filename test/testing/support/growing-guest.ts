import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Agent, type Bytes, type DiskIntent, type GuestContainer, type Hypervisor, MiB } from "tapvisor/plugin";
import { type AgentFakeOptions, agentFake } from "tapvisor/plugins/agent-fake";
import { type HypervisorFakeOptions, hypervisorFake } from "tapvisor/plugins/hypervisor-fake";
import { quietCall } from "tapvisor/testing";
import { containerRequest, fakeWorld, providerOf } from "../../support/fake-guest.ts";

/** What the VM boots with, and how far it can grow. */
export const BOOT = { vcpus: 1, memoryBytes: (256 * MiB) as Bytes };
export const LIMITS = { vcpus: 4, memoryBytes: (1024 * MiB) as Bytes };

type Options = Omit<HypervisorFakeOptions & AgentFakeOptions, "world">;

/** A VM that can grow, of sandbox `web`, with a connected agent and a created guest sandbox; and ways to plug disks and make containers. */
export async function growingGuest({ extras = true, ...options }: Options = {}) {
  const base = await fakeWorld();
  const { world, rootfs } = base;
  const hypervisor = await providerOf<Hypervisor>(hypervisorFake({ ...options, world }), "hypervisor", "fake");
  const agent = await providerOf<Agent>(agentFake({ extras, world }), "agent", "fake");
  const { disk, share } = hypervisor.holdings;
  if (!disk || !share) throw new Error("the fake hypervisor has shares and disks");
  const vmIntent = { ...base.vmIntent("web"), ...BOOT, limits: LIMITS };
  const vm = await hypervisor.holdings.vm.acquire(vmIntent, quietCall());
  const view = await hypervisor.connect(vm, quietCall());
  if (!view.sizing) throw new Error("a fake VM can be resized");
  const target = { sandbox: "web", endpoint: vm.agentEndpoint, runDirectory: vm.runDirectory };
  const client = await agent.connect(target, quietCall());
  await client.createSandbox({ sandbox: "web", hostname: "web", storages: [] }, quietCall());
  const diskIntent = async (id: string, amend: Partial<DiskIntent> = {}): Promise<DiskIntent> => {
    const path = join(rootfs, "..", `${id}.img`);
    await writeFile(path, "");
    await truncate(path, MiB);
    return { sandbox: "web", vm, id, path, format: "raw", readonly: false, driver: "virtio-scsi", index: 0, ...amend };
  };
  const container = async (id: string, args: readonly string[], amend: Partial<GuestContainer> = {}) => {
    await share.acquire(base.shareIntent(vm, `share-${id}`), quietCall());
    await client.createContainer({ ...containerRequest(id, args), ...amend }, quietCall());
    return { container: id, exec: id };
  };
  return {
    ...base,
    hypervisor,
    agent,
    vm,
    vmIntent,
    view,
    sizing: view.sizing,
    target,
    client,
    disk,
    share,
    diskIntent,
    /** Creates a container. */
    container,
    /** Creates and starts one. */
    async running(id: string, args: readonly string[], amend: Partial<GuestContainer> = {}) {
      const process = await container(id, args, amend);
      await client.startContainer(id, quietCall());
      return process;
    },
    /** What the world's snapshot says of the VM. */
    snapshot() {
      const [found] = world.snapshot().vms;
      if (!found) throw new Error("there is no VM");
      return found;
    },
  };
}
