import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { agentServiceDefinition, guestServiceDefinition } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { processesIn } from "../../../../plugins/guest-linux/agent/stats/processes.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";
import { fakeGuest, processOf, refusal } from "./support/fake-guest.ts";

const s = suite("guest agent: processes");

interface Shown {
  readonly name?: string;
  readonly state?: string;
  readonly parent?: number;
  readonly nspid?: string;
  readonly startedTicks?: number;
  readonly rss?: string;
  readonly cmdline?: string;
}

/** A /proc with a process. */
async function show(
  proc: string,
  pid: number,
  { name = "sleep", state = "S", parent = 1, nspid = `${pid}\t${pid - 100}`, ...more }: Shown,
) {
  const { startedTicks = 0, rss = "VmRSS:\t    1024 kB\n", cmdline = "sleep\x0060\0" } = more;
  const directory = join(proc, String(pid));
  await mkdir(directory, { recursive: true });
  const zeros = Array.from({ length: 17 }, () => "0").join(" ");
  await writeFile(join(directory, "stat"), `${pid} (${name}) ${state} ${parent} ${zeros} ${startedTicks} 0 0\n`);
  await writeFile(join(directory, "status"), `Name:\t${name}\nUid:\t5\t1000\t5\t5\nGid:\t6\t100\t6\t6\nNSpid:\t${nspid}\n${rss}`);
  await writeFile(join(directory, "cmdline"), cmdline);
}

async function procWith(processes: Readonly<Record<number, Shown>>) {
  const directory = await tempDirectory();
  await writeFile(join(directory.path, "uptime"), "100.50 7.00\n");
  for (const [pid, shown] of Object.entries(processes)) await show(directory.path, Number(pid), shown);
  return { ...directory, look: () => processesIn(directory.path, Object.keys(processes).map(Number)) };
}

s.test("a process has the numbers of its container, its user, its age and its memory", async () => {
  await using proc = await procWith({ 101: { parent: 50 }, 107: { parent: 101, startedTicks: 4000, state: "R" } });
  const [first, second] = await proc.look();
  assert.equal(first, {
    pid: 1,
    parent_pid: 0,
    uid: 1000,
    gid: 100,
    state: "S",
    command: "sleep 60",
    elapsed_seconds: "100",
    resident_bytes: "1048576",
  });
  assert.is(second?.pid, 7);
  assert.is(second?.parent_pid, 1);
  assert.is(second?.state, "R");
  assert.is(second?.elapsed_seconds, "60");
});

s.test("a name with brackets and spaces in it hides nothing, and stands in brackets where there are no arguments", async () => {
  await using proc = await procWith({ 101: { name: "a) R 7 (b", state: "Z", cmdline: "", rss: "" } });
  const [zombie] = await proc.look();
  assert.is(zombie?.state, "Z");
  assert.is(zombie?.command, "[a) R 7 (b]");
  assert.is(zombie?.resident_bytes, "0");
});

s.test("a process in a pid namespace inside the container has the container's number, and one of the guest's own is left out", async () => {
  await using proc = await procWith({ 101: { nspid: "101\t5\t1" }, 102: { nspid: "102" } });
  assert.equal(
    (await proc.look()).map(({ pid }) => pid),
    [5],
  );
});

s.test("processes that have ended meanwhile are left out", async () => {
  await using proc = await procWith({ 101: {} });
  assert.is((await processesIn(proc.path, [100, 101, 102])).length, 1);
});

s.test("long command lines are cut, and many of them more", async () => {
  await using proc = await procWith({ 101: { cmdline: "x".repeat(10_000) } });
  assert.is((await proc.look())[0]?.command.length, 4096);
  const many = await processesIn(
    proc.path,
    Array.from({ length: 5000 }, () => 101),
  );
  assert.is(many.length, 4096);
  assert.is(many[0]?.command.length, 128);
});

s.test("ListProcesses has the guest's pids, and the lines of ps that are the container's", async () => {
  await using guest = await fakeGuest();
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  await guest.call("CreateContainer", { container_id: "c", OCI: guest.spec(["sleep", "60"]) });
  const list = (format: string, args: readonly string[] = []) => guest.call("ListProcesses", { container_id: "c", format, args });
  const text = async (format: string, args?: readonly string[]) => Buffer.from((await list(format, args)).process_list).toString();
  assert.is(await text("json"), "[]");
  await guest.call("StartContainer", { container_id: "c" });
  const [pid, ...others] = JSON.parse(await text("json")) as number[];
  assert.equal(others, []);
  const [header, row, ...rest] = (await text("table")).split("\n");
  assert.match(header ?? "", /\bPID\b/);
  assert.match(row ?? "", new RegExp(`\\b${pid}\\b.*sleep 60`));
  assert.equal(rest, [""]);
  assert.match(await text("table", ["-e", "-o", "ppid,pid,args"]), /^ *PPID +PID COMMAND\n.*sleep 60\n$/);
  assert.is((await refusal(list("table", ["-e", "-o", "ppid"]))).status, status.INVALID_ARGUMENT, "no column PID");
  assert.is((await refusal(list("yaml"))).status, status.INVALID_ARGUMENT);
  const unknown = guest.call("ListProcesses", { container_id: "none", format: "json" });
  assert.is((await refusal(unknown)).status, status.NOT_FOUND);
  const described = guest.raw(guestServiceDefinition.DescribeProcesses, { container_id: "none" });
  assert.is((await refusal(described)).status, status.NOT_FOUND);
});

s.test("a terminal's size is refused where there is no terminal, or no size", async () => {
  await using guest = await fakeGuest();
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  await guest.call("CreateContainer", { container_id: "c", OCI: guest.spec(["sleep", "60"]) });
  await guest.call("StartContainer", { container_id: "c" });
  const resize = (row: number, column: number) => guest.call("TtyWinResize", { container_id: "c", exec_id: "c", row, column });
  assert.is((await refusal(resize(24, 80))).status, status.FAILED_PRECONDITION);
  for (const [row, column] of [
    [0, 80],
    [24, 65_536],
  ] as const) {
    assert.is((await refusal(resize(row, column))).status, status.INVALID_ARGUMENT);
  }
});

s.test("a request to execute nothing is INVALID_ARGUMENT, and leaves the id free", async () => {
  await using guest = await fakeGuest();
  await guest.call("CreateSandbox", { sandbox_id: "s" });
  await guest.call("CreateContainer", { container_id: "c", OCI: guest.spec(["sleep", "60"]) });
  await guest.call("StartContainer", { container_id: "c" });
  const exec = (process: object | null) => guest.raw(agentServiceDefinition.ExecProcess, { container_id: "c", exec_id: "e", process });
  assert.is((await refusal(exec(null))).status, status.INVALID_ARGUMENT);
  assert.is((await refusal(exec(processOf([])))).status, status.INVALID_ARGUMENT);
  assert.is((await refusal(exec({ ...processOf(["true"]), Cwd: "tmp" }))).status, status.INVALID_ARGUMENT);
  await exec(processOf(["true"]));
});

s.run();
