import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createEngine } from "tapvisor";
import * as assert from "uvu/assert";
import { crashScene } from "../support/crash-scene.ts";
import type { Task } from "../support/neighbour.ts";
import { suite } from "../support/suite.ts";
import { watchedBackends } from "../support/watched-backends.ts";
import { guestView, hostView, stateFiles, vmView } from "../support/whole-world.ts";

const s = suite("two processes on one root, on real QEMU");
const TIMEOUT = { timeoutMs: 180_000 };
const scene = await crashScene();
const { root, rootfs, empty } = scene;
await scene.buildTemplate();

function neighbour(task: Omit<Task, "root" | "rootfs">) {
  const argv = ["--import", "tsx", join(import.meta.dirname, "../support/neighbour.ts"), JSON.stringify({ root, rootfs, ...task })];
  const child = spawn(process.execPath, argv, { stdio: ["pipe", "pipe", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk) => {
    said += chunk;
  });
  const lines = createInterface({ input: child.stdout });
  const all: string[] = [];
  const line = new Promise<void>((resolve) => {
    lines.on("line", (text) => {
      all.push(text);
      resolve();
    });
  });
  const closed = once(child, "close");
  const ended = async () => {
    const [code] = await closed;
    const last = all.at(-1) ?? "";
    assert.is(code, 0, said);
    assert.ok(last.startsWith("done "), said);
    return JSON.parse(last.slice(5)) as { locked: number; collected: string[]; kept: string[] };
  };
  return { child, line, ended, closed };
}

const nothing = async () => {
  assert.equal(await hostView(root), empty);
  assert.equal(await stateFiles(root), []);
};

s.test(
  "each with a sandbox of its own: both work at once, and neither's gc() touches the other's",
  async () => {
    const both = ["one", "two"].map((name) => neighbour({ name, work: "own", rounds: 2 }));
    const [one, two] = await Promise.all(both.map(({ ended }) => ended()));
    assert.equal([...(one?.collected ?? ["?"]), ...(two?.collected ?? ["?"])], []);
    assert.ok(one?.kept.includes("one") && two?.kept.includes("two"));
    await nothing();
  },
  TIMEOUT,
);

s.test(
  "one sandbox: it is one process's at a time, the other gets LOCKED, and when one dies with it the other has it",
  async () => {
    const { plugins, grant } = watchedBackends();
    await using owner = await createEngine({ root, plugins });
    const made = await owner.runSandbox({ id: "shared", detached: true });
    await guestView(made, rootfs);
    const before = { guest: await guestView(made, rootfs), vm: await vmView(grant("shared")) };
    await owner.close();

    const both = ["one", "two"].map((name) => neighbour({ name, work: "shared", rounds: 4 }));
    const saw = await Promise.all(both.map(({ ended }) => ended()));
    assert.ok(saw.reduce((sum, { locked }) => sum + locked, 0) > 0, "they met");
    assert.equal(
      saw.flatMap(({ collected }) => collected),
      [],
    );

    const holder = neighbour({ name: "holder", work: "hold", rounds: 1 });
    await holder.line;
    const waiting = neighbour({ name: "waiting", work: "shared", rounds: 1 });
    await using engine = await createEngine({ root, plugins });
    const locked = await engine.sandbox("shared").catch((error: { code: string; data: { holder: number } }) => error);
    assert.is(Reflect.get(locked, "code"), "LOCKED");
    assert.is(Reflect.get(Reflect.get(locked, "data"), "holder"), holder.child.pid);
    holder.child.kill("SIGKILL");
    await holder.closed;
    await waiting.ended();

    const sandbox = await engine.sandbox("shared");
    assert.equal(sandbox.containers(), []);
    assert.equal({ guest: await guestView(sandbox, rootfs), vm: await vmView(grant("shared")) }, before);
    await sandbox.stop();
    await sandbox.delete();
    await nothing();
  },
  TIMEOUT,
);

s.test(
  "two that collect at the same moment what a dead script left: it is given back once, and neither fails",
  async () => {
    for (const moment of ["after launch-vm", "before connect-agent", "after hypervisor.vm.acquire"]) {
      await scene.dies({ verb: "create sandbox", moment });
      const both = ["one", "two"].map((name) => neighbour({ name, work: "gc", rounds: 1 }));
      await Promise.all(both.map(({ line }) => line));
      for (const { child } of both) child.stdin.end("go\n");
      const saw = await Promise.all(both.map(({ ended }) => ended()));
      assert.equal(
        saw.flatMap(({ collected }) => collected),
        ["box"],
      );
      await nothing();
    }
    await scene[Symbol.asyncDispose]();
  },
  TIMEOUT,
);

s.run();
