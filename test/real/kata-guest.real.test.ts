import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { release } from "node:os";
import { join } from "node:path";
import { type ContainerOptions, createEngine, type EngineOptions, type Sandbox } from "tapvisor";
import { guestFiles } from "tapvisor/plugins/guest-files";
import * as assert from "uvu/assert";
import { MiB } from "../../src/base/units.ts";
import { failureOf, NOTHING, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";

// The guest is the user's: nothing of Kata's is in this repository. See "A Kata guest" in plugins/guest-files/README.md.
const { TAPVISOR_KATA_KERNEL: kernel, TAPVISOR_KATA_INITRD: initrd, TAPVISOR_KATA_IMAGE: image } = process.env;
const kernelParameters = (process.env.TAPVISOR_KATA_PARAMETERS ?? "").split(" ").filter(Boolean);

const s = suite("an unmodified Kata 1.x guest");
const TIMEOUT = { timeoutMs: 300_000 };

if (kernel === undefined || (initrd === undefined && image === undefined)) {
  s.skip("runs containers through the same engine", "TAPVISOR_KATA_KERNEL, with TAPVISOR_KATA_INITRD or TAPVISOR_KATA_IMAGE, is not set");
} else {
  await tests(kernel);
}

async function tests(kernel: string): Promise<void> {
  const options: EngineOptions = {
    config: { slots: { guest: "files" } },
    plugins: [guestFiles({ kernel, initrd, image, kernelParameters })],
  };
  const world = await realEngine(options);
  const { engine, rootfs, root, directory } = world;
  // One VM serves all tests but the last, since a boot under emulation takes seconds.
  const shared = engine.runSandbox({ id: "box", memory: "512MiB", maxVcpus: 4, maxMemory: "2GiB" });
  const sh = (script: string) => ["sh", "-c", script];

  async function run(options: Omit<ContainerOptions, "rootfs"> & Partial<ContainerOptions>) {
    const container = await (await shared).run({ rootfs, ...options });
    const [stdout, stderr] = await Promise.all([container.stdout.text(), container.stderr.text()]);
    const { exitCode } = await container.wait();
    await container.delete();
    return { stdout, stderr, exitCode };
  }

  s.test(
    "a container runs on the guest's kernel; its output, read after its end, and its exit code come back",
    async () => {
      const container = await (await shared).run({ rootfs, command: sh("uname -r; echo to-stderr >&2; exit 7") });
      assert.equal(await container.wait(), { exitCode: 7 });
      const stdout = await container.stdout.text();
      assert.match(stdout, /^\d+\.\d+\.\d+.*\n$/);
      assert.not.equal(stdout.trim(), release());
      assert.is(await container.stderr.text(), "to-stderr\n");
      await container.delete();
    },
    TIMEOUT,
  );

  s.test(
    "a rootfs is written to copy-on-write, not at all, or shared, as it is asked for",
    async () => {
      const before = await readFile(join(rootfs, "etc/passwd"), "utf8");
      const copied = await run({ command: sh("echo x >> /etc/passwd; tail -n1 /etc/passwd; rm /bin/vi; ls /bin/vi 2>/dev/null") });
      assert.equal([copied.stdout, await readFile(join(rootfs, "etc/passwd"), "utf8")], ["x\n", before]);
      const readonly = await run({ rootfs: { directory: rootfs, access: "readonly" }, command: sh("echo x > /new") });
      assert.match(readonly.stderr, "Read-only file system");
      await run({ rootfs: { directory: rootfs, access: "shared" }, command: sh("echo from-guest > /tmp/shared") });
      assert.is(await readFile(join(rootfs, "tmp/shared"), "utf8"), "from-guest\n");
    },
    TIMEOUT,
  );

  s.test(
    "files of the host, a file system on a disk and a tmpfs are mounted; a disk is a device node",
    async () => {
      await mkdir(join(directory, "data"));
      await writeFile(join(directory, "data/greeting"), "hello\n");
      const disk = join(directory, "disk.img");
      await writeFile(disk, Buffer.alloc(4 * MiB, "z"));
      const block = join(directory, "rootfs.img");
      execFileSync("mkfs.ext4", ["-q", "-d", rootfs, block, "32M"], { stdio: "pipe" });
      const mounts = [
        { source: join(directory, "data"), target: "/data", readonly: true },
        { block, target: "/tree", readonly: true },
        { tmpfs: true as const, target: "/scratch" },
      ];
      const devices = [{ path: disk, target: "/dev/data" }];
      const script = "cat /data/greeting; ls /tree/bin/sh; touch /scratch/x && echo scratch; head -c 3 /dev/data; echo x > /data/no";
      const mounted = await run({ mounts, devices, command: sh(script) });
      assert.is(mounted.stdout, "hello\n/tree/bin/sh\nscratch\nzzz");
      assert.match(mounted.stderr, "Read-only file system");
      const onDisk = await run({ rootfs: { block }, command: sh("echo changed > /etc/passwd; cat /etc/passwd") });
      assert.equal(onDisk, { stdout: "changed\n", stderr: "", exitCode: 0 });
    },
    TIMEOUT,
  );

  s.test(
    "bytes go through stdin and stdout unchanged, 256 KiB of them",
    async () => {
      const container = await (await shared).run({ rootfs, command: ["cat"] });
      const input = randomBytes(256 * 1024);
      container.stdin.end(input);
      const output = await container.stdout.bytes();
      assert.is(createHash("sha256").update(output).digest("hex"), createHash("sha256").update(input).digest("hex"));
      assert.equal(await container.wait(), { exitCode: 0 });
      await container.delete();
    },
    TIMEOUT,
  );

  s.test(
    "a command that does not exist, or cannot be executed, is an error of its own, and the id is free again",
    async () => {
      const sandbox = await shared;
      const missing = await failureOf(sandbox.run({ id: "bad", rootfs, command: ["no-such-program"] }));
      assert.equal([missing.code, missing.rollback?.left], ["COMMAND_NOT_FOUND", []]);
      assert.is((await failureOf(sandbox.run({ id: "bad", rootfs, command: ["/etc"] }))).code, "COMMAND_NOT_EXECUTABLE");
      assert.is((await run({ id: "bad", command: ["true"] })).exitCode, 0);
    },
    TIMEOUT,
  );

  s.test(
    "a container has vCPUs and memory of its own plugged in, is updated, measured, paused and stopped",
    async () => {
      const sandbox = await shared;
      const command = sh("while :; do echo tick; sleep 0.2; done");
      const container = await sandbox.run({ rootfs, command, resources: { vcpus: 1, memory: "128MiB" } });
      const { granted } = await sandbox.resources();
      assert.equal([granted.vcpus, granted.memoryBytes], [2, 640 * MiB]);
      const seen = await run({ command: sh("grep -c ^processor /proc/cpuinfo") });
      assert.is(seen.stdout, "2\n");
      await container.update({ vcpus: 2, memory: "256MiB" });
      const { memory } = await container.stats();
      assert.is(memory.usage.limitBytes, 256 * MiB);
      assert.ok(memory.usage.bytes > 0 && memory.swap.bytes <= memory.usage.bytes);
      await container.pause();
      assert.is(container.state, "paused");
      await container.resume();
      await container.pause();
      await container.stop({ timeoutMs: 1000 }); // nobody reads its output
      assert.equal(await container.wait(), { exitCode: 137 });
      await container.delete();
      assert.equal((await sandbox.resources()).requests, {});
    },
    TIMEOUT,
  );

  s.test(
    "a process that writes without end while nobody reads is stopped, and one that has ended starts again",
    async () => {
      const sandbox = await shared;
      const flood = await sandbox.run({ rootfs, command: ["cat", "/dev/zero"] });
      await flood.stop({ timeoutMs: 500 });
      await flood.delete();
      const again = await sandbox.run({ rootfs, command: sh("ls /trace 2>/dev/null; touch /trace; echo done") });
      assert.is(await again.stdout.text(), "done\n");
      await again.wait();
      await again.start();
      assert.is(await again.stdout.text(), "done\n");
      await again.wait();
      await again.delete();
    },
    TIMEOUT,
  );

  s.test(
    "a sandbox ends with containers that run, and leaves nothing on the host",
    async () => {
      const sandbox = await shared;
      await sandbox.run({ rootfs, command: ["sleep", "600"] });
      await sandbox.stop();
      await sandbox.delete();
      assert.equal(await world.host(), NOTHING);
    },
    TIMEOUT,
  );

  s.test(
    "a detached sandbox is taken over by a later engine: the container runs on, takes input and tells its exit code",
    async () => {
      const early = await createEngine({ root, ...options });
      const sandbox: Sandbox = await early.runSandbox({ id: "kept", detached: true });
      const container = await sandbox.run({
        id: "c",
        rootfs,
        command: sh("echo up; read line; echo got $line > /got; read line; cat /got; exit 9"),
      });
      for await (const line of container.stdout.lines()) if (line === "up") break;
      await early.close();
      await using late = await createEngine({ root, ...options });
      const kept = await late.sandbox("kept");
      const again = kept.container("c");
      assert.is(again.state, "running");
      again.stdin.end("one\ntwo\n");
      assert.equal(await again.wait(), { exitCode: 9 });
      await again.delete();
      assert.is((await kept.run({ rootfs, command: ["true"] }).then((next) => next.wait())).exitCode, 0);
      await kept.stop();
      await kept.delete();
      await world[Symbol.asyncDispose]();
    },
    TIMEOUT,
  );
}

s.run();
