import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import * as assert from "uvu/assert";
import { suite } from "../../../support/suite.ts";
import { fakeCgroup } from "./support/fake-cgroup.ts";
import { type FakeGuest, fakeGuest, refusal } from "./support/fake-guest.ts";

const s = suite("guest agent: pause and update");
const C = { container_id: "c", exec_id: "c" };

/** What a running container's cgroup holds before any update. */
const UNLIMITED = {
  "cpu.max": "max 100000\n",
  "cpuset.cpus": "\n",
  "pids.max": "max\n",
  "memory.low": "0\n",
  "memory.max": "max\n",
  "memory.high": "max\n",
  "memory.current": String(10 * 2 ** 20),
};

async function created(guest: FakeGuest, resources: object | null = null): Promise<void> {
  const spec = guest.spec(["sleep", "1000"]);
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  await guest.call("CreateContainer", { container_id: "c", OCI: { ...spec, Linux: { ...spec.Linux, Resources: resources } as never } });
}

async function started(guest: FakeGuest): Promise<void> {
  await created(guest);
  await guest.call("StartContainer", { container_id: "c" });
}

const outer = (guest: FakeGuest) => join(guest.paths.cgroups, "tapvisor/c");
const inner = (guest: FakeGuest) => join(outer(guest), "container");
const update = (guest: FakeGuest, resources: object) => guest.call("UpdateContainer", { container_id: "c", resources: resources as never });

async function config(guest: FakeGuest) {
  const directory = join(guest.paths.own, "containers/c");
  assert.not.ok((await readdir(directory)).includes("config.json.new"), "a draft of the configuration is left");
  return JSON.parse(await readFile(join(directory, "config.json"), "utf8")).linux.resources;
}

s.test("a pause stands when all processes have stopped, a resume when they go on, and each wants the other before", async () => {
  await using guest = await fakeGuest();
  await started(guest);
  await using cgroup = await fakeCgroup(outer(guest), {});
  const wrong = async (name: "PauseContainer" | "ResumeContainer") => (await refusal(guest.call(name, { container_id: "c" }))).status;
  assert.is(await wrong("ResumeContainer"), status.FAILED_PRECONDITION);
  await guest.call("PauseContainer", { container_id: "c" });
  assert.match(await cgroup.read("cgroup.events"), "frozen 1");
  assert.is(await wrong("PauseContainer"), status.FAILED_PRECONDITION);
  await guest.call("ResumeContainer", { container_id: "c" });
  assert.match(await cgroup.read("cgroup.events"), "frozen 0");
  await guest.call("PauseContainer", { container_id: "c" });
  assert.equal(cgroup.asked, ["1", "0", "1"]);
});

s.test("a container that is created, ended or unknown can be neither paused nor resumed", async () => {
  await using guest = await fakeGuest();
  await created(guest);
  const statuses = async () => {
    const both = (["PauseContainer", "ResumeContainer"] as const).map((name) => refusal(guest.call(name, { container_id: "c" })));
    return (await Promise.all(both)).map((each) => each.status);
  };
  assert.equal(await statuses(), [status.FAILED_PRECONDITION, status.FAILED_PRECONDITION]);
  await guest.call("StartContainer", { container_id: "c" });
  await guest.call("SignalProcess", { ...C, signal: 9 });
  await guest.call("WaitProcess", C);
  assert.equal(await statuses(), [status.FAILED_PRECONDITION, status.FAILED_PRECONDITION]);
  assert.is((await refusal(guest.call("PauseContainer", { container_id: "x" }))).status, status.NOT_FOUND);
});

s.test("a paused container takes no new process, is ended by a SIGKILL, and is not paused any more then", async () => {
  await using guest = await fakeGuest();
  await started(guest);
  await using _cgroup = await fakeCgroup(outer(guest), {});
  await guest.call("PauseContainer", { container_id: "c" });
  const { agentServiceDefinition } = await import("tapvisor/protocol");
  const exec = { container_id: "c", exec_id: "e", process: guest.spec(["true"]).Process };
  assert.match((await refusal(guest.raw(agentServiceDefinition.ExecProcess as never, exec))).text, "it is paused, wanted running");
  await guest.call("SignalProcess", { container_id: "c", exec_id: "", signal: 9 });
  assert.equal(await guest.call("WaitProcess", C), { status: 137 });
  assert.match((await refusal(guest.call("ResumeContainer", { container_id: "c" }))).text, "it is ended, wanted paused");
});

s.test("processes that do not stop in the caller's time go on, and the container is not paused", async () => {
  await using guest = await fakeGuest();
  await started(guest);
  await using cgroup = await fakeCgroup(outer(guest), {}, { stuck: true });
  const refused = await refusal(guest.call("PauseContainer", { container_id: "c" }, { timeoutMs: 300 }));
  assert.is(refused.status, status.DEADLINE_EXCEEDED);
  while (cgroup.asked.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(cgroup.asked, ["1", "0"]);
  assert.match((await refusal(guest.call("ResumeContainer", { container_id: "c" }))).text, "it is running, wanted paused");
});

s.test("an update before the start is in the configuration that the runtime gets, one part after the other", async () => {
  await using guest = await fakeGuest();
  await created(guest, { Memory: { Limit: "100" }, Pids: { Limit: "5" } });
  assert.equal(await config(guest), { memory: { limit: 100 }, pids: { limit: 5 } });
  await update(guest, { Memory: { Reservation: "50" }, CPU: { Quota: "2000", Period: "4000", Cpus: "0" } });
  await update(guest, { Pids: { Limit: "-1" } });
  assert.equal(await config(guest), { memory: { limit: 100, reservation: 50 }, cpu: { quota: 2000, period: 4000, cpus: "0" } });
  assert.is((await refusal(update(guest, { CPU: { Period: "1" } }))).status, status.INVALID_ARGUMENT);
  assert.is((await refusal(guest.call("UpdateContainer", { container_id: "c" }))).status, status.INVALID_ARGUMENT);
  assert.is((await refusal(guest.call("UpdateContainer", { container_id: "x", resources: {} as never }))).status, status.NOT_FOUND);
  assert.equal((await config(guest)).cpu.period, 4000);
});

s.test("limits that no kernel takes are refused when the container is created", async () => {
  await using guest = await fakeGuest();
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  const spec = guest.spec(["true"]);
  const OCI = { ...spec, Linux: { ...spec.Linux, Resources: { CPU: { Period: "1" } } } as never };
  assert.is((await refusal(guest.call("CreateContainer", { container_id: "c", OCI }))).status, status.INVALID_ARGUMENT);
});

s.test("an update of a running container is in its cgroup and in the configuration, and no limit lifts it again", async () => {
  await using guest = await fakeGuest();
  await started(guest);
  await using cgroup = await fakeCgroup(inner(guest), UNLIMITED);
  await update(guest, {
    Memory: { Limit: String(2 ** 30), Reservation: "4096" },
    CPU: { Quota: "2000", Period: "4000" },
    Pids: { Limit: "7" },
  });
  const names = ["cpu.max", "pids.max", "memory.low", "memory.max", "memory.high", "cpuset.cpus"];
  const read = async () => Promise.all(names.map((name) => cgroup.read(name)));
  assert.equal(await read(), ["2000 4000", "7", "4096", String(2 ** 30), "max", ""]);
  assert.equal(await config(guest), {
    memory: { limit: 2 ** 30, reservation: 4096 },
    cpu: { quota: 2000, period: 4000 },
    pids: { limit: 7 },
  });
  await update(guest, { Memory: { Limit: "-1" }, CPU: { Quota: "-1" } });
  assert.equal(await read(), ["max 4000", "7", "4096", "max", "max", ""]);
  assert.equal(await config(guest), { memory: { reservation: 4096 }, cpu: { period: 4000 }, pids: { limit: 7 } });
});

s.test("memory is lowered while the processes stand still, and never below what they use", async () => {
  await using guest = await fakeGuest();
  await started(guest);
  await using cgroup = await fakeCgroup(inner(guest), UNLIMITED);
  await update(guest, { Memory: { Limit: String(20 * 2 ** 20) } });
  assert.equal(cgroup.asked, ["1", "0"]);
  const refused = await refusal(update(guest, { Memory: { Limit: String(9 * 2 ** 20) }, Pids: { Limit: "3" } }));
  assert.is(refused.status, status.FAILED_PRECONDITION);
  assert.match(refused.text, "Cannot limit the memory to 9MiB: its processes use 10MiB that cannot be taken back");
  const left = ["memory.max", "memory.high", "pids.max", "cgroup.freeze"].map((name) => cgroup.read(name));
  assert.equal(await Promise.all(left), [String(20 * 2 ** 20), "max", "max", "0"]);
  assert.equal(await config(guest), { memory: { limit: 20 * 2 ** 20 } });
  await update(guest, { Memory: { Limit: String(30 * 2 ** 20) } });
  assert.equal(cgroup.asked, ["1", "0", "1", "0"], "nothing stands still for more memory");
});

s.test("processes that cannot be stopped keep the memory limit they have", async () => {
  await using guest = await fakeGuest();
  await started(guest);
  await using cgroup = await fakeCgroup(inner(guest), UNLIMITED, { stuck: true });
  const lower = () =>
    guest.call("UpdateContainer", { container_id: "c", resources: { Memory: { Limit: "20971520" } } as never }, { timeoutMs: 300 });
  assert.is((await refusal(lower())).status, status.DEADLINE_EXCEEDED);
  while (cgroup.asked.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal([await cgroup.read("memory.max"), await cgroup.read("cgroup.freeze")], ["max", "0"]);
});

s.test("a paused container is lowered as it is, and stays paused", async () => {
  await using guest = await fakeGuest();
  await started(guest);
  await using _outer = await fakeCgroup(outer(guest), {});
  await using cgroup = await fakeCgroup(inner(guest), { ...UNLIMITED, "cgroup.events": "populated 1\nfrozen 1\n" });
  await guest.call("PauseContainer", { container_id: "c" });
  await update(guest, { Memory: { Limit: String(20 * 2 ** 20) } });
  assert.equal([await cgroup.read("memory.max"), cgroup.asked.length], [String(20 * 2 ** 20), 0]);
});

s.test("one limit that cannot be set takes all back, in the cgroup and in the configuration", async () => {
  await using guest = await fakeGuest();
  await started(guest);
  const { "cpuset.cpus": _, ...without } = UNLIMITED;
  await using cgroup = await fakeCgroup(inner(guest), { ...without, "cpu.max": "1000 2000\n" });
  await mkdir(join(inner(guest), "cpuset.cpus")); // cannot be written to, and comes after cpu.max
  const refused = await refusal(update(guest, { CPU: { Quota: "5000", Cpus: "0" }, Pids: { Limit: "3" } }));
  assert.is(refused.status, status.INTERNAL);
  assert.equal([await cgroup.read("cpu.max"), await cgroup.read("pids.max")], ["1000 2000", "max"]);
  assert.is(await config(guest), undefined);
  await rm(join(inner(guest), "cpuset.cpus"), { recursive: true });
});

s.test("a limit that this kernel has not is FAILED_PRECONDITION, and an ended container has only its configuration", async () => {
  await using guest = await fakeGuest();
  await started(guest);
  await using _cgroup = await fakeCgroup(inner(guest), UNLIMITED);
  const refused = await refusal(update(guest, { HugepageLimits: [{ Pagesize: "2MB", Limit: "1" }] }));
  assert.is(refused.status, status.FAILED_PRECONDITION);
  assert.match(refused.text, "hugetlb.2MB.max");
  await guest.call("SignalProcess", { ...C, signal: 9 });
  await guest.call("WaitProcess", C);
  await update(guest, { Pids: { Limit: "3" } });
  assert.equal(await config(guest), { pids: { limit: 3 } });
});

s.test("a cgroup of the container's own has all controllers of those above it, and goes with the container", async () => {
  await using guest = await fakeGuest();
  await writeFile(join(guest.paths.cgroups, "cgroup.subtree_control"), "cpu memory pids\n");
  await created(guest);
  const files = ["tapvisor", "tapvisor/c"].map((name) => join(guest.paths.cgroups, name, "cgroup.subtree_control"));
  for (const file of files) assert.is(await readFile(file, "utf8"), "+cpu +memory +pids");
  for (const file of files) await rm(file); // the kernel's own files are no hindrance to a removal
  await guest.call("RemoveContainer", { container_id: "c" });
  assert.equal(await readdir(join(guest.paths.cgroups, "tapvisor")), []);
});

s.run();
