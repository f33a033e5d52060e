import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { type Call, type GuestDevice, type GuestDisk, MiB, type OciResources, type OciSpec } from "tapvisor/plugin";
import { collectChecks, quietCall, runChecks } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { failure } from "./expect.ts";
import { diskTool, type MachineGuest, machineGuest } from "./support/machine-guest.ts";

const s = suite("agent-grpc and the guest's agent: pause, limits, devices and resources");

const SIGKILL = 9;
const call = (): Call => quietCall({ timeoutMs: 60_000 });
const statusOf = async (work: Promise<unknown>) => (await failure("AGENT_FAILED", work)).data.status;

/** A container whose process runs each line that it is given, and says all that it printed. */
interface Shell {
  readonly id: string;
  readonly disk: GuestDisk;
  ask(line: string): Promise<string>;
  end(): Promise<void>;
}

async function shell(
  { client, rootfs, plug }: MachineGuest,
  id: string,
  { driver = "blk", ...more }: { driver?: GuestDisk["driver"]; resources?: OciResources; devices?: readonly GuestDevice[] } = {},
): Promise<Shell> {
  const disk = await plug(driver, await rootfs(id));
  const mountPoint = `/run/kata-containers/${id}/rootfs`;
  const loop = ["sh", "-c", "while read -r line; do eval \"$line\" 2>&1; echo '<end>'; done"];
  const storage = { driver, source: disk.address, fstype: "ext4", options: [], mountPoint };
  const spec = specOf(mountPoint, loop, more.resources);
  await client.createContainer({ container: id, storages: [storage], devices: more.devices ?? [], spec }, call());
  await client.startContainer(id, call());
  const process = { container: id, exec: id };
  return {
    id,
    disk,
    async ask(line) {
      await client.writeStdin(process, Buffer.from(`${line}\n`), call());
      let text = "";
      while (!text.endsWith("<end>\n")) {
        const data = await client.readStdout(process, MiB, call());
        if (data.length === 0) throw new Error(`${id} has ended after ${JSON.stringify(text)}`);
        text += Buffer.from(data).toString();
      }
      return text.slice(0, -"<end>\n".length).trim();
    },
    end: () => client.removeContainer(id, call()),
  };
}

/** The container sees its own cgroup, read-only, so that its limits can be looked at from inside. */
function specOf(path: string, args: readonly string[], resources: OciResources = {}): OciSpec {
  const set = ["CAP_DAC_OVERRIDE", "CAP_KILL"];
  const mount = (destination: string, type: string, ...options: string[]) => ({ destination, type, source: type, options });
  return {
    ociVersion: "1.1.0",
    root: { path, readonly: false },
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args,
      env: ["PATH=/bin"],
      cwd: "/",
      capabilities: { bounding: set, effective: set, permitted: set, inheritable: [], ambient: [] },
      noNewPrivileges: true,
    },
    mounts: [
      mount("/proc", "proc"),
      mount("/dev", "tmpfs", "size=128m"),
      mount("/sys", "sysfs", "ro"),
      mount("/sys/fs/cgroup", "cgroup", "ro"),
    ],
    linux: {
      namespaces: [{ type: "ipc" }, { type: "uts" }, { type: "mount" }],
      maskedPaths: [],
      readonlyPaths: [],
      resources: { ...resources, devices: [{ allow: false, access: "rwm" }] },
    },
  };
}

/** Nothing announces what is waited for here; 30 s at most. */
async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 30_000;
  while (!(await holds())) {
    assert.ok(performance.now() < end, `${what}: not within 30 s`);
    await delay(20);
  }
}

const limits = (of: Shell, ...names: string[]) => of.ask(`cd /sys/fs/cgroup && cat ${names.join(" ")}`).then((text) => text.split("\n"));

async function pauseStopsACounter(guest: MachineGuest): Promise<void> {
  const { client } = guest;
  const web = await shell(guest, "counting");
  await web.ask("(i=0; while :; do i=$((i+1)); echo $i > /dev/shm.new; mv /dev/shm.new /dev/count; done) &");
  const count = async () => Number(await web.ask("cat /dev/count || echo 0"));
  await eventually("it counts", async () => (await count()) > 0);
  await client.pauseContainer(web.id, call());
  const used = async () => (await client.statsContainer(web.id, call())).cpu.totalUs;
  const before = await used();
  assert.is(await statusOf(client.pauseContainer(web.id, call())), "FAILED_PRECONDITION");
  await delay(300); // in which it would count on
  assert.is(await used(), before, "it used the processor while it was paused");
  await client.resumeContainer(web.id, call());
  const resumed = await count();
  await eventually("it counts on", async () => (await count()) > resumed);
  await client.pauseContainer(web.id, call());
  await client.signalProcess({ container: web.id, exec: "" }, SIGKILL, true, call());
  assert.is(
    await client.waitProcess({ container: web.id, exec: web.id }, call()),
    128 + SIGKILL,
    "a paused container is killed all the same",
  );
  await web.end();
}

async function updatesAreInTheCgroup(guest: MachineGuest): Promise<void> {
  const { client } = guest;
  const web = await shell(guest, "limited", { resources: { memory: { limit: 200 * MiB }, cpu: { shares: 1024 } } });
  const names = ["cpu.max", "cpu.weight", "memory.max", "memory.low", "memory.swap.max", "pids.max", "hugetlb.2MB.max", "memory.high"];
  assert.equal(await limits(web, ...names), ["max 100000", "39", String(200 * MiB), "0", "max", "max", "max", "max"]);
  await client.updateContainer(
    web.id,
    {
      memory: { limit: 100 * MiB, reservation: 10 * MiB, swap: 120 * MiB },
      cpu: { shares: 2048, quota: 50_000, period: 100_000, cpus: "0", mems: "0" },
      pids: { limit: 40 },
      hugepageLimits: [{ pageSize: "2MB", limit: 4 * MiB }],
    },
    call(),
  );
  const lowered = ["50000 100000", "79", String(100 * MiB), String(10 * MiB), String(20 * MiB), "40", String(4 * MiB), "max"];
  assert.equal(await limits(web, ...names), lowered);
  assert.equal(await limits(web, "cpuset.cpus", "cpuset.mems"), ["0", "0"]);
  const impossible = { pids: { limit: 7 }, memory: { limit: 90 * MiB }, cpu: { quota: 60_000, cpus: "0,4095" } };
  assert.is(await statusOf(client.updateContainer(web.id, impossible, call())), "INVALID_ARGUMENT");
  assert.equal(await limits(web, ...names), lowered, "a refused update changed something");
  await client.updateContainer(web.id, { memory: { limit: 300 * MiB, swap: -1 }, pids: { limit: 50 } }, call());
  assert.equal(await limits(web, "memory.max", "memory.swap.max", "pids.max"), [String(300 * MiB), "max", "50"]);
  const none = { memory: { limit: -1, reservation: -1 }, cpu: { quota: -1 }, pids: { limit: -1 } };
  await client.updateContainer(web.id, none, call());
  assert.equal(await limits(web, "memory.max", "memory.low", "cpu.max", "pids.max"), ["max", "0", "max 100000", "max"]);
  await web.end();
}

async function memoryInUseIsNotTaken(guest: MachineGuest): Promise<void> {
  const { client } = guest;
  const web = await shell(guest, "using");
  await web.ask("dd if=/dev/zero of=/dev/held bs=1M count=32");
  assert.is(
    await statusOf(client.updateContainer(web.id, { memory: { limit: 16 * MiB }, pids: { limit: 9 } }, call())),
    "FAILED_PRECONDITION",
  );
  assert.equal(await limits(web, "memory.max", "memory.high", "pids.max"), ["max", "max", "max"]);
  await web.ask("rm /dev/held; dd if=/dev/zero of=/cached bs=1M count=20; sync");
  assert.ok(Number(await web.ask("cat /sys/fs/cgroup/memory.current")) > 16 * MiB, "the page cache counts");
  await client.updateContainer(web.id, { memory: { limit: 8 * MiB } }, call());
  const [max, high, current] = await limits(web, "memory.max", "memory.high", "memory.current");
  assert.equal([max, high], [String(8 * MiB), "max"]);
  assert.ok(Number(current) <= 8 * MiB, `${current} bytes`);
  assert.match(await web.ask("cat /sys/fs/cgroup/memory.events"), /^oom_kill 0$/m);
  await web.end();
}

async function statsSayWhatWasUsed(guest: MachineGuest): Promise<void> {
  const { client } = guest;
  const web = await shell(guest, "used", { resources: { memory: { limit: 128 * MiB }, cpu: { quota: 50_000, period: 100_000 } } });
  await web.ask("dd if=/dev/zero of=/dev/held bs=1M count=64; dd if=/dev/zero of=/disk bs=1M count=4 conv=fsync");
  const busy = await client.statsContainer(web.id, call());
  const { cpu, memory, pids, blockIo, network } = busy;
  assert.ok(memory.usage.bytes >= 64 * MiB && memory.usage.bytes < 128 * MiB, `${memory.usage.bytes} bytes`);
  assert.equal([memory.usage.limitBytes, memory.oomKills, memory.useHierarchy], [128 * MiB, 0, true]);
  assert.ok((memory.counters.shmem ?? 0) >= 64 * MiB);
  assert.ok(cpu.totalUs > 0 && Math.abs(cpu.kernelUs + cpu.userUs - cpu.totalUs) <= 2, JSON.stringify(cpu));
  assert.ok(cpu.throttling.throttledPeriods > 0 && cpu.throttling.throttledUs > 0, "half a processor is less than it wanted");
  assert.ok(pids.current >= 1);
  const written = blockIo.serviceBytes.filter(({ operation }) => operation === "Write").map(({ value }) => value);
  assert.ok(Math.max(...written) >= 4 * MiB, `${written} bytes written`);
  assert.ok(network.some(({ name }) => name === "lo"));
  await client.signalProcess({ container: web.id, exec: "" }, SIGKILL, true, call());
  await client.waitProcess({ container: web.id, exec: web.id }, call());
  const ended = await client.statsContainer(web.id, call());
  assert.ok(ended.memory.usage.maxBytes >= 64 * MiB && ended.cpu.totalUs >= cpu.totalUs, "what was used stays known");
  assert.equal([ended.pids.current, ended.memory.usage.limitBytes], [0, 128 * MiB]);
  assert.ok(ended.cpu.throttling.throttledPeriods >= cpu.throttling.throttledPeriods);
  await web.end();
}

async function oomEndsItAlone(guest: MachineGuest): Promise<void> {
  const { client } = guest;
  const [greedy, neighbour] = [
    await shell(guest, "greedy", { resources: { memory: { limit: 24 * MiB } } }),
    await shell(guest, "neighbour"),
  ];
  await client.writeStdin(
    { container: greedy.id, exec: greedy.id },
    Buffer.from("exec dd if=/dev/zero of=/dev/null bs=64M count=1\n"),
    call(),
  );
  assert.is(await client.waitProcess({ container: greedy.id, exec: greedy.id }, call()), 128 + SIGKILL);
  const { oomKills, usage, counters } = (await client.statsContainer(greedy.id, call())).memory;
  assert.ok(oomKills >= 1 && counters.oom_kill === oomKills && usage.failures >= 1, JSON.stringify({ oomKills, usage }));
  assert.is(await neighbour.ask("echo here"), "here");
  assert.is((await client.statsContainer(neighbour.id, call())).memory.oomKills, 0);
  await greedy.end();
  await neighbour.end();
}

async function devicesWork(guest: MachineGuest): Promise<void> {
  const { client, plug, image } = guest;
  for (const driver of ["blk", "scsi"] as const) {
    const file = await image(`${driver}-data`, `${driver} content`);
    const data = await plug(driver, file);
    const fixed = await plug(driver, await image(`${driver}-fixed`, "fixed"));
    assert.is((await client.findDisk(data, call()))?.bytes, MiB);
    const devices = [
      { disk: data, containerPath: "/dev/data", permissions: "rwm" },
      { disk: fixed, containerPath: "/dev/fixed", permissions: "rm" },
    ];
    const web = await shell(guest, `with-${driver}`, { driver, devices });
    assert.is(await web.ask("head -c 10 /dev/data"), `${driver} content`.slice(0, 10));
    await web.ask("printf written | dd of=/dev/data conv=notrunc,fsync");
    assert.match(await readFile(file, "utf8"), /^written/);
    assert.is(await web.ask("head -c 5 /dev/fixed"), "fixed");
    assert.match(await web.ask("printf x > /dev/fixed || echo refused"), "Operation not permitted");
    assert.is(await statusOf(client.releaseDisk(data, call())), "FAILED_PRECONDITION");
    assert.is(await statusOf(client.releaseDisk(web.disk, call())), "FAILED_PRECONDITION", "its rootfs is mounted");
    await web.end();
    for (const disk of [data, fixed, web.disk, data]) await client.releaseDisk(disk, call());
    assert.is((await client.findDisk(data, call()))?.bytes, MiB, "it is still plugged in");
  }
}

async function aDirtyDiskIsMountedReadOnly(guest: MachineGuest): Promise<void> {
  const { client, plug, rootfs } = guest;
  const path = await rootfs("dirty");
  diskTool("debugfs", "-w", "-R", "feature needs_recovery", path);
  const disk = await plug("scsi", path, { readonly: true });
  const mountPoint = "/run/kata-containers/dirty/rootfs";
  const storage = { driver: "scsi", source: disk.address, fstype: "ext4", options: ["ro"], mountPoint };
  const spec = specOf(mountPoint, ["cat", "/etc/group"]);
  await client.createContainer(
    { container: "dirty", storages: [storage], spec: { ...spec, root: { path: mountPoint, readonly: true } } },
    call(),
  );
  await client.startContainer("dirty", call());
  assert.is(await client.waitProcess({ container: "dirty", exec: "dirty" }, call()), 0);
  await client.removeContainer("dirty", call());
}

async function vcpusAreParked(guest: MachineGuest): Promise<void> {
  const { client, plugVcpu } = guest;
  const web = await shell(guest, "parking");
  const online = async (vcpus?: number) => (await client.syncResources(vcpus === undefined ? {} : { vcpus }, call()))?.onlineVcpus;
  assert.is(await online(), 1);
  await plugVcpu();
  for (const vcpus of [2, 1, 2]) {
    assert.is(await online(vcpus), vcpus);
    assert.is(await web.ask("nproc"), String(vcpus));
  }
  assert.is(await statusOf(client.syncResources({ vcpus: 3 }, call())), "FAILED_PRECONDITION");
  await plugVcpu();
  await client.onlineCpuMem({ vcpus: 1, cpuOnly: true }, call());
  assert.equal([await online(), await web.ask("nproc")], [3, "3"]);
  assert.is(await online(1), 1);
  await web.end();
}

async function memoryComesAndGoes({ client, qmp }: MachineGuest): Promise<void> {
  const memory = async () => (await client.syncResources({}, call()))?.memoryBytes ?? 0;
  const before = await memory();
  const resize = async (bytes: number) => {
    const path = "/machine/peripheral/memory";
    await qmp.execute("qom-set", { path, property: "requested-size", value: bytes });
    await eventually(`the guest has ${bytes} bytes more`, async () => (await qmp.execute("qom-get", { path, property: "size" })) === bytes);
  };
  await resize(256 * MiB);
  assert.is(await memory(), before + 256 * MiB, "all of it is online");
  await resize(0);
  assert.is(await memory(), before, "and all of it is given back");
}

const CHECKS: Readonly<Record<string, (guest: MachineGuest) => Promise<void>>> = {
  "a pause stops a container's processes, a resume lets them go on": pauseStopsACounter,
  "an update raises, lowers and removes limits in the container's cgroup, all of them or none": updatesAreInTheCgroup,
  "memory in use is not limited away, what the kernel can take back is taken": memoryInUseIsNotTaken,
  "statistics say what was used, also after the end": statsSayWhatWasUsed,
  "a container that fills its memory ends alone, and it is told": oomEndsItAlone,
  "disks become devices and file systems of containers, and are not released while they are in use": devicesWork,
  "a read-only disk with a journal to replay can be mounted": aDirtyDiskIsMountedReadOnly,
  "vCPUs that are plugged in come online, are parked, and come back": vcpusAreParked,
  "memory that is plugged in comes online and can be taken out again": memoryComesAndGoes,
};

s.test(
  "they pass in one real VM",
  async () => {
    await using guest = await machineGuest();
    await guest.client.createSandbox({ hostname: "box", sandbox: "box", storages: [] }, call());
    const checks = collectChecks(({ test }) => {
      for (const [name, check] of Object.entries(CHECKS)) test(name, () => check(guest));
    });
    const results = await runChecks(checks);
    assert.equal(
      results.flatMap(({ name, error }) => (error ? [`${name}: ${error.message} ${Reflect.get(error, "details") ?? ""}`] : [])),
      [],
    );
    await guest.client.destroySandbox(call());
  },
  { timeoutMs: 240_000 },
);

s.run();
