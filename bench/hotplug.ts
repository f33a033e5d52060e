// What plugging takes through the engine, against the same commands and the same word to the guest done bare, in one run on two VMs of one kind.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { createEngine, type Sandbox } from "tapvisor";
import type { AgentClient, VmGrant } from "tapvisor/plugin";
import { diskSteps } from "../plugins/hypervisor-qemu/disk-device.ts";
import { leaseMachine, type MachineLease } from "../plugins/hypervisor-qemu/machines.ts";
import { makeExampleRootfs } from "../scripts/example-rootfs.ts";
import { watchedBackends } from "../test/support/watched-backends.ts";
import { median, timed } from "./timing.ts";

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 9);
const MiB = 2 ** 20;
/** Between two looks at the size of the memory, ms; QEMU tells of changes once a second at most. */
const LOOK_EVERY_MS = 5;

const directory = await mkdtemp(join(tmpdir(), "tv-bench-"));
const rootfs = join(directory, "rootfs");
makeExampleRootfs(rootfs);
const image = join(directory, "disk.img");
const bareImage = join(directory, "bare.img");
for (const path of [image, bareImage]) await writeFile(path, Buffer.alloc(MiB));
const call = { signal: AbortSignal.timeout(3_600_000), log: pino({ level: "silent" }) };
const backends = watchedBackends();
const load = loadavg()[0];

type OciLimits = Parameters<AgentClient["updateContainer"]>[1];

interface Pair {
  readonly row: string;
  readonly bare: () => Promise<unknown>;
  readonly tapvisor: () => Promise<unknown>;
}

try {
  await using engine = await createEngine({ root: join(directory, "root"), templates: false, plugins: backends.plugins });
  const limits = { maxVcpus: 8, maxMemory: "4GiB" };
  await using ours = await engine.runSandbox({ id: "ours", ...limits });
  await using theirs = await engine.runSandbox({ id: "bare", ...limits });
  await using lease = await leaseMachine(backends.grant("bare"));
  const bare = bareVm(lease, backends.grant("bare"), backends.client("bare"));
  const web = await ours.run({ id: "web", rootfs, command: ["sleep", "100000"] });
  const bareWeb = await theirs.run({ id: "web", rootfs, command: ["sleep", "100000"] });
  const set = (options: Parameters<typeof web.update>[0]) => () => web.update(options);
  // vCPUs that have been plugged in once are parked and used again, on both sides.
  await web.update({ vcpus: 1 });
  await bare.vcpus(2);
  await web.update({ vcpus: null });
  await bare.vcpus(1);
  const quota = (vcpus: number) => ({ cpu: { quota: vcpus * 100_000, period: 100_000 } });
  const both = (plug: () => Promise<unknown>, limits: OciLimits) => async () => {
    await plug();
    await bare.limits(limits);
  };
  // An update sets the container's own limits too, so the bare side does.
  const pairs: Pair[] = [
    { row: "one vCPU more (parked before)", bare: both(() => bare.vcpus(2), quota(1)), tapvisor: set({ vcpus: 1 }) },
    { row: "one vCPU less (parked)", bare: both(() => bare.vcpus(1), { cpu: { quota: -1 } }), tapvisor: set({ vcpus: null }) },
    {
      row: "128 MiB more",
      bare: both(() => bare.memory(128 * MiB), { memory: { limit: 128 * MiB } }),
      tapvisor: set({ memory: "128MiB" }),
    },
    { row: "128 MiB less", bare: both(() => bare.memory(0), { memory: { limit: -1 } }), tapvisor: set({ memory: null }) },
    { row: "1 GiB more", bare: both(() => bare.memory(1024 * MiB), { memory: { limit: 1024 * MiB } }), tapvisor: set({ memory: "1GiB" }) },
    { row: "1 GiB less", bare: both(() => bare.memory(0), { memory: { limit: -1 } }), tapvisor: set({ memory: null }) },
    { row: "a SCSI disk more", bare: bare.addDisk, tapvisor: () => ours.addDevice({ path: image }) },
    { row: "a SCSI disk less", bare: bare.removeDisk, tapvisor: () => removeDisk(ours) },
    {
      row: "update of limits that leave the VM as it is",
      bare: () => bare.limits({ pids: { limit: 1000 } }),
      tapvisor: set({ pids: 1000 }),
    },
  ];
  const times = new Map(pairs.map(({ row }) => [row, { bare: [] as number[], tapvisor: [] as number[] }]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const { row, bare: theirs, tapvisor } of pairs) {
      const ofRow = times.get(row);
      const sides = [async () => ofRow?.bare.push(await timed(theirs)), async () => ofRow?.tapvisor.push(await timed(tapvisor))];
      // What the first has set off in its VM may still run while the second is timed: each goes first in every other round.
      for (const side of round % 2 === 0 ? sides : sides.reverse()) await side();
    }
  }
  console.log(`\n${ROUNDS} rounds, load ${load?.toFixed(1)} before and ${loadavg()[0]?.toFixed(1)} after\n`);
  console.log("| row | bare | Tapvisor | ratio |\n|---|---|---|---|");
  for (const [row, { bare: theirs, tapvisor }] of times) {
    console.log(`| ${row} | ${ms(theirs)} | ${ms(tapvisor)} | ${(median(tapvisor) / median(theirs)).toFixed(2)} |`);
  }
  for (const container of [web, bareWeb]) await container.kill("SIGKILL");
} finally {
  await rm(directory, { recursive: true, force: true });
}

/** The commands that the plugin sends and the calls that the engine makes, and nothing around them. */
function bareVm({ machine }: MachineLease, vm: VmGrant, client: AgentClient) {
  const execute = (command: string, args: Record<string, unknown>) => machine.execute(command, args, {});
  const intent = {
    sandbox: "bare",
    vm,
    id: "bare",
    path: bareImage,
    format: "raw",
    readonly: false,
    driver: "virtio-scsi",
    index: 0,
  } as const;
  const disk = { driver: "scsi", address: "0:0" } as const;
  let plugged = 1;
  return {
    async vcpus(target: number) {
      if (target > plugged) {
        const all = (await execute("query-hotpluggable-cpus", {})) as {
          "qom-path"?: string;
          type: string;
          props: Record<string, number>;
        }[];
        const next = all.reverse().find((cpu) => cpu["qom-path"] === undefined);
        if (next) await execute("device_add", { driver: next.type, id: `cpu-${plugged}`, ...next.props });
        plugged = target;
      }
      await client.syncResources({ vcpus: target }, call);
    },
    async memory(bytes: number) {
      const path = await virtioMem(execute);
      await execute("qom-set", { path, property: "requested-size", value: bytes });
      while ((await execute("qom-get", { path, property: "size" })) !== bytes) await delay(LOOK_EVERY_MS);
      await client.syncResources({}, call);
    },
    async addDisk() {
      for (const { command } of diskSteps(intent, "file")) await execute(command.command, command.arguments);
      await client.findDisk(disk, call);
    },
    async removeDisk() {
      await client.releaseDisk(disk, call);
      const [node, device] = diskSteps(intent, "file");
      const qmp = await machine.connect();
      const gone = qmp.waitForEvent("the disk", ({ event, data }) => event === "DEVICE_DELETED" && data.device === "disk-bare", {});
      await execute(device.undo.command, device.undo.arguments);
      await gone;
      for (let tries = 0; tries < 100; tries++) {
        const done = await execute(node.undo.command, node.undo.arguments).then(
          () => true,
          () => false, // QEMU frees a node a moment after its device
        );
        if (done) return;
        await delay(1);
      }
    },
    limits: (limits: OciLimits) => client.updateContainer("web", limits, call),
  };
}

async function virtioMem(execute: (command: string, args: Record<string, unknown>) => Promise<unknown>): Promise<string> {
  const devices = (await execute("query-memory-devices", {})) as readonly {
    readonly type: string;
    readonly data: { readonly id: string };
  }[];
  const id = devices.find(({ type }) => type === "virtio-mem")?.data.id;
  return `/machine/peripheral/${id}`;
}

async function removeDisk(sandbox: Sandbox): Promise<void> {
  for (const { id } of sandbox.devices()) await sandbox.removeDevice(id);
}

function ms(values: readonly number[]): string {
  return `${median(values).toFixed(0)} ms (${Math.min(...values).toFixed(0)} to ${Math.max(...values).toFixed(0)})`;
}
