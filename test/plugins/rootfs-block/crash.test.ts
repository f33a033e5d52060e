import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { findProcessesByMark } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { startChild } from "../../support/child-process.ts";
import { suite } from "../../support/suite.ts";
import { directoryIntent, rootfsWorld, until } from "./world.ts";

const s = suite("rootfs-block: kill -9 while a directory is copied");
const IMAGE = "rootfs-block/box@web/image.erofs";
const HALF = "rootfs-block/box@web/image.part";

async function world() {
  const base = await rootfsWorld();
  const tree = join(base.files, "tree");
  await mkdir(tree);
  return { ...base, tree, startCopying: () => startChild<string>(new URL("./crash-child.ts", import.meta.url), [base.top]) };
}

s.test("in the middle of mkfs.erofs: the program ends too, and the half image is no image and is found by the intent alone", async () => {
  await using w = await world();
  await writeFile(join(w.tree, "slow"), "");
  await truncate(join(w.tree, "slow"), 20 * 2 ** 30);
  await using child = w.startCopying();
  await until(async () => (await w.left()).includes(HALF));
  await child.kill();
  await until(async () => (await findProcessesByMark(HALF)).length === 0);
  assert.equal(await w.left(), ["rootfs-block/box@web", HALF]);
  await w.release(directoryIntent(w.tree));
  assert.equal(await w.left(), []);
});

s.test(
  "at any instant: an image that has its name is whole, and release leaves nothing",
  async () => {
    await using w = await world();
    for (let number = 0; number < 20; number++) await writeFile(join(w.tree, `file-${number}`), randomBytes(100_000));
    const intent = directoryIntent(w.tree);
    const whole = await readFile(((await w.acquire(intent)) as { path: string }).path);
    await w.release(intent);
    for (let instant = 0; instant < 5; instant++) {
      await using child = w.startCopying();
      await child.next();
      await delay(instant * 10); // different places of a copy that takes some 30 ms
      await child.kill();
      if ((await w.left()).includes(IMAGE)) assert.ok(whole.equals(await readFile(join(w.state, IMAGE))));
      await w.release(intent);
      assert.equal(await w.left(), []);
      assert.equal(await findProcessesByMark(w.state), []);
    }
  },
  { timeoutMs: 60_000 },
);

s.test("release() ends a program that still makes the container's image, and nobody else's", async () => {
  await using w = await world();
  const half = join(w.state, HALF);
  // As a killed process's mkfs.erofs may: it waits for its standard input's end instead of working.
  const start = (...argv: readonly string[]) => {
    const child = spawn("sh", ["-c", "read -r line", "mkfs.erofs", ...argv], { stdio: ["pipe", "ignore", "ignore"] });
    return { child, ended: once(child, "close").then(([code, signal]) => ({ code, signal })) };
  };
  const stray = start("--quiet", half, w.tree);
  const others = [start("--quiet", half.replace("@web", "@web2"), w.tree), start("--verbose", half, w.tree)];
  try {
    await once(stray.child, "spawn");
    await w.release(directoryIntent(w.tree));
    assert.equal(await stray.ended, { code: null, signal: "SIGKILL" });
  } finally {
    for (const { child } of [stray, ...others]) child.stdin.end();
  }
  for (const { ended } of others) assert.equal(await ended, { code: 1, signal: null });
});

s.run();
