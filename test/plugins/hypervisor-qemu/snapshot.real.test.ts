import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { copyFile, mkdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { type AgentClient, type Bytes, type DiskIntent, MiB, type VmGrant, type VmIntent } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { makeExampleRootfs } from "../../../scripts/example-rootfs.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { ask, providers, startContainer, startShell } from "./support/guest-vm.ts";
import { processesOf } from "./support/world.ts";

const s = suite("hypervisor-qemu snapshot with a guest");
const call = () => quietCall({ timeoutMs: 60_000 });
const BOOT = (512 * MiB) as Bytes;
const GROWN = (768 * MiB) as Bytes;
/** Prints a number each tenth of a second, for ever. */
const COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";

s.test("a process, and what was plugged in, go on in a VM that goes on from a snapshot; then a share can be plugged", body, {
  timeoutMs: 180_000,
});

async function body(): Promise<void> {
  await using temporary = await tempDirectory();
  const at = (name: string) => join(temporary.path, name);
  const { hypervisor, guest, transport, agent } = await providers(temporary.path);
  const { vm: holding, share, disk } = hypervisor.holdings;
  if (!share || !disk) throw new Error("QEMU shares directories and plugs disks");
  const boot = { ...(await guest.prepare(call())), virtioMem: true };
  const sizes = { vcpus: 1, memoryBytes: BOOT, limits: { vcpus: 3, memoryBytes: (1024 * MiB) as Bytes } };
  const intentOf = async (sandbox: string, more: Partial<VmIntent> = {}): Promise<VmIntent> => {
    const runDirectory = at(sandbox);
    await mkdir(runDirectory, { mode: 0o700 });
    return { sandbox, nonce: randomBytes(16).toString("hex"), runDirectory, ...sizes, boot, detached: false, ...more };
  };
  const agentOf = ({ sandbox, runDirectory, agentEndpoint: endpoint }: VmGrant) =>
    agent.connect({ sandbox, endpoint, transport, runDirectory }, call());
  const counted = async (client: AgentClient): Promise<number> => {
    const data = await client.readStdout({ container: "count", exec: "count" }, MiB, call());
    return Number(Buffer.from(data).toString().trim().split("\n").at(-1));
  };
  await mkdir(at("tree"));
  makeExampleRootfs(at("tree/rootfs"));
  await writeFile(at("data.img"), "the content of a disk");
  await truncate(at("data.img"), 4 * MiB);
  const data = {
    sandbox: "one",
    id: "data",
    path: at("data.img"),
    format: "raw",
    readonly: false,
    driver: "virtio-blk",
    index: 0,
  } as const;
  const tree = { ...data, id: "tree", path: at("tree.img"), driver: "virtio-scsi", index: 1, readonly: true } as const;
  await promisify(execFile)("mkfs.erofs", [tree.path, at("tree")]);

  const one = await intentOf("one");
  const state = at("state");
  const intents = [one];
  try {
    const grant = await holding.acquire(one, call());
    const vm = await hypervisor.connect(grant, call());
    const client = await agentOf(grant);
    await client.createSandbox({ hostname: "box", sandbox: "box", storages: [] }, call());
    const plugged = await disk.acquire({ ...data, vm: grant } satisfies DiskIntent, call());
    const { guest: treeDisk } = await disk.acquire({ ...tree, vm: grant } satisfies DiskIntent, call());
    assert.equal(await vm.sizing?.resizeVcpus(2, call()), { reached: 2 });
    assert.is((await client.syncResources({ vcpus: 2 }, call()))?.onlineVcpus, 2);
    assert.equal(await vm.sizing?.resizeMemory(GROWN, call()), { reached: GROWN });
    const files = { fstype: "erofs", source: treeDisk.address, driver: treeDisk.driver, options: ["ro"] };
    await startContainer(client, files, "count", ["sh", "-c", COUNT]);
    const before = await counted(client);
    const resources = await client.syncResources({}, call());
    await client.close();
    const started = performance.now();
    await vm.snapshot?.(state, call());
    const took = performance.now() - started;
    await copyFile(data.path, at("data-2.img"));
    await vm.disconnect();

    const size = { vcpus: 2, memoryBytes: GROWN };
    const disks = [
      { ...data, sandbox: "two", path: at("data-2.img") },
      { ...tree, sandbox: "two" },
    ];
    const two = await intentOf("two", { memory: { kind: "snapshot", state }, plugged: { size, disks } });
    intents.push(two);
    const again = performance.now();
    const granted = await holding.acquire(two, call());
    const restore = performance.now() - again;
    const view = await hypervisor.connect(granted, call());
    const other = await agentOf(granted);
    console.log(
      `snapshot ${Math.round((await stat(state)).size / MiB)} MiB in ${took.toFixed(0)} ms; restored in ${restore.toFixed(0)} ms`,
    );
    assert.is((await view.diagnostics()).console, "", "a boot would have said something");
    const now = await counted(other);
    assert.ok(now >= before, `it counted to ${before}, and then to ${now}`);
    assert.equal(await view.sizing?.size(call()), size);
    assert.equal((await other.syncResources({}, call()))?.onlineVcpus, resources?.onlineVcpus);
    assert.equal(await other.findDisk(plugged.guest, call()), { node: "/dev/vdb", bytes: 4 * MiB });

    assert.equal(await view.sizing?.resizeVcpus(3, call()), { reached: 3 });
    assert.is((await other.syncResources({ vcpus: 3 }, call()))?.onlineVcpus, 3);
    for (const bytes of [(1024 * MiB) as Bytes, BOOT]) assert.equal(await view.sizing?.resizeMemory(bytes, call()), { reached: bytes });
    await disk.release({ intent: { ...data, vm: granted, path: at("data-2.img") }, grant: undefined }, call());
    const entries = [{ name: "rootfs", source: at("tree/rootfs"), type: "directory", readonly: true }] as const;
    const shared = await share.acquire(
      { sandbox: "two", vm: granted, id: "files", directory: join(two.runDirectory, "files"), entries },
      call(),
    );
    await startShell(other, shared.guest);
    assert.is(await ask(other, "echo there"), "there");
    await other.close();
  } finally {
    for (const intent of intents) await holding.release({ intent, grant: undefined }, call());
    await rm(state, { force: true });
  }
  for (const intent of intents) assert.equal(await processesOf(intent), []);
}

s.run();
