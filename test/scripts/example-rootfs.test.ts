import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { makeExampleRootfs } from "../../scripts/example-rootfs.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";

const s = suite("scripts example-rootfs");

s.test("the rootfs has a shell and its commands that work, what /etc needs, and mount points", async () => {
  await using temp = await tempDirectory();
  const rootfs = join(temp.path, "rootfs");
  makeExampleRootfs(rootfs);
  assert.is(execFileSync(join(rootfs, "bin/sh"), ["-c", "echo works"], { encoding: "utf8" }), "works\n");
  assert.is(execFileSync(join(rootfs, "bin/uname"), ["-s"], { encoding: "utf8" }), "Linux\n");
  assert.equal(readdirSync(rootfs), ["bin", "dev", "etc", "proc", "root", "sys", "tmp"]);
  assert.equal(readdirSync(join(rootfs, "etc")), ["group", "passwd"]);
});

s.test("made again it replaces the old one and leaves nothing beside it", async () => {
  await using temp = await tempDirectory();
  const rootfs = join(temp.path, "rootfs");
  makeExampleRootfs(rootfs);
  writeFileSync(join(rootfs, "stale"), "");
  makeExampleRootfs(rootfs);
  assert.not.ok(existsSync(join(rootfs, "stale")));
  assert.equal(readdirSync(temp.path), ["rootfs"]);
});

s.run();
