import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { currentBootId, findProcessesByMark, identifyProcess, isAlive, signalProcess } from "../../src/base/process-identity.ts";
import { suite } from "../support/suite.ts";

const s = suite("process identity");

/** A program that ends with its scope; its first line of output has come. */
async function running(command: string, args: readonly string[]) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "close");
  const [line] = await once(child.stdout, "data");
  return {
    child,
    pid: child.pid as number,
    line: String(line).trim(),
    ended,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

s.test("a running process is alive until it is killed, and then a signal to it is refused", async () => {
  await using p = await running("sh", ["-c", "echo up; exec sleep 60"]);
  const identity = await identifyProcess(p.pid);
  assert.ok(identity);
  assert.is(await isAlive(identity), true);
  assert.is(await signalProcess(identity, "SIGKILL"), true);
  await p.ended;
  assert.is(await isAlive(identity), false);
  assert.is(await signalProcess(identity, "SIGKILL"), false);
});

s.test("the same pid at another time or in another boot is another process", async () => {
  const self = await identifyProcess(process.pid);
  assert.ok(self);
  assert.is(await isAlive(self), true);
  assert.is(await isAlive({ ...self, startTime: String(Number(self.startTime) + 1) }), false);
  assert.is(await isAlive({ ...self, bootId: "00000000-0000-0000-0000-000000000000" }), false);
  assert.is(self.bootId, currentBootId());
});

s.test("a process whose name has parentheses and blanks is told right", async () => {
  await using p = await running("sh", ["-c", "printf 'x) R 1 (y' > /proc/$$/comm; echo up; read never"]);
  const identity = await identifyProcess(p.pid);
  const fields = readFileSync(`/proc/${p.pid}/stat`, "utf8").split(") ").at(-1)?.split(" ");
  assert.is(identity?.startTime, fields?.[19]);
});

s.test("a zombie is dead", async () => {
  // The shell starts a child, says its pid and becomes a program that never reaps it.
  await using p = await running("sh", ["-c", "sleep 60 & echo $!; exec sleep 60"]);
  const zombie = Number(p.line);
  const identity = await identifyProcess(zombie);
  assert.ok(identity);
  assert.is(await signalProcess(identity, "SIGKILL"), true);
  while (!/\) Z /.test(readFileSync(`/proc/${zombie}/stat`, "utf8"))) await new Promise(setImmediate);
  assert.is(await isAlive(identity), false);
  assert.is(await identifyProcess(zombie), undefined);
});

const threads = ["-Mthreads", "-e", '$|=1; threads->create(sub { sleep 60 })->detach; print "up\\n"; syscall(60, 0)'];
if (process.arch !== "x64" || !perlHasThreads()) s.skip("a zombie with a live thread is alive", "needs perl with threads on x86-64");
else {
  s.test("a process whose first thread has ended while another goes on is alive until that ends", async () => {
    await using p = await running("perl", threads);
    while (!/\) Z /.test(readFileSync(`/proc/${p.pid}/stat`, "utf8"))) await new Promise(setImmediate);
    const identity = await identifyProcess(p.pid);
    assert.ok(identity);
    assert.is(await isAlive(identity), true);
    assert.is(await signalProcess(identity, "SIGKILL"), true);
    await p.ended;
    assert.is(await isAlive(identity), false);
  });
}

s.test("processes are found by a mark in their command line, and this one is not", async () => {
  const mark = `mark-${process.pid}-${process.hrtime.bigint()}`;
  await using p = await running("sh", ["-c", "echo up; read never", mark]);
  assert.equal(
    (await findProcessesByMark(mark)).map(({ pid }) => pid),
    [p.pid],
  );
  const [found] = await findProcessesByMark(mark);
  assert.equal(found, await identifyProcess(p.pid));
});

s.run();

function perlHasThreads(): boolean {
  try {
    execFileSync("perl", ["-Mthreads", "-e", "1"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
