import { createHash, randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { release } from "node:os";
import { join } from "node:path";
import type { ContainerOptions, Sandbox } from "tapvisor";
import * as assert from "uvu/assert";
import { failureOf, NOTHING, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";

// One VM serves all tests of this file, since a boot under emulation takes seconds; the last test ends it and looks at what is left.
const s = suite("containers on real QEMU");
const world = await realEngine();
const { rootfs, directory } = world;
const shared = world.engine.runSandbox({ id: "box", memory: "512MiB" });
const TIMEOUT = { timeoutMs: 120_000 };

async function run(sandbox: Sandbox, options: Omit<ContainerOptions, "rootfs"> & Partial<ContainerOptions>) {
  const container = await sandbox.run({ rootfs, ...options });
  const [stdout, stderr] = await Promise.all([container.stdout.text(), container.stderr.text()]);
  const { exitCode } = await container.wait();
  await container.delete();
  return { stdout, stderr, exitCode };
}

const sh = (script: string) => ["sh", "-c", script];

s.test(
  "a container runs on the guest's kernel, which is not the host's, and its exit code comes back",
  async () => {
    const result = await run(await shared, { command: sh("uname -r; echo to-stderr >&2; exit 7") });
    assert.match(result.stdout, /^\d+\.\d+\.\d+.*\n$/);
    assert.not.equal(result.stdout.trim(), release());
    assert.is(result.stderr, "to-stderr\n");
    assert.is(result.exitCode, 7);
  },
  TIMEOUT,
);

s.test(
  "what a container writes to its root file system stays its own: the host's files do not change",
  async () => {
    const before = await readFile(join(rootfs, "etc/passwd"), "utf8");
    const first = await run(await shared, {
      command: sh("echo x >> /etc/passwd; echo new > /new; rm /bin/vi; cat /new; tail -n1 /etc/passwd"),
    });
    assert.is(first.stdout, "new\nx\n");
    assert.is(await readFile(join(rootfs, "etc/passwd"), "utf8"), before);
    const second = await run(await shared, { command: sh("ls /new 2>&1; ls /bin/vi") });
    assert.match(second.stdout, "No such file");
    assert.match(second.stdout, "/bin/vi");
  },
  TIMEOUT,
);

s.test(
  "a read-only root file system cannot be written, a shared one writes to the host's files",
  async () => {
    const sandbox = await shared;
    const readonly = await run(sandbox, { rootfs: { directory: rootfs, access: "readonly" }, command: sh("echo x > /new") });
    assert.match(readonly.stderr, "Read-only file system");
    assert.not.equal(readonly.exitCode, 0);
    await run(sandbox, { rootfs: { directory: rootfs, access: "shared" }, command: sh("echo from-guest > /tmp/shared") });
    assert.is(await readFile(join(rootfs, "tmp/shared"), "utf8"), "from-guest\n");
  },
  TIMEOUT,
);

s.test(
  "mounts show directories and files of the host; a read-only one refuses writes, a writable one reaches the host",
  async () => {
    const data = join(directory, "data");
    await mkdir(data);
    await writeFile(join(data, "greeting"), "hello\n");
    const single = join(directory, "single file");
    await writeFile(single, "one\n");
    const result = await run(await shared, {
      command: sh("cat /data/greeting /etc/single; echo x > /data/no; echo y > /etc/single; echo written > /out/file"),
      mounts: [
        { source: data, target: "/data", readonly: true },
        { source: single, target: "/etc/single", readonly: true },
        { source: data, target: "/out" },
      ],
    });
    assert.is(result.stdout, "hello\none\n");
    assert.is(result.stderr.match(/Read-only file system/g)?.length, 2);
    assert.is(await readFile(join(data, "file"), "utf8"), "written\n");
    assert.is(await readFile(single, "utf8"), "one\n");
  },
  TIMEOUT,
);

s.test(
  "environment, working directory, user, host name and arguments arrive as given",
  async () => {
    const result = await run(await shared, {
      command: ["sh", "-c", 'echo "$A|$PWD|$(id -u):$(id -g)|$(hostname)|$1|$2"', "sh", "two words", "$(reboot)"],
      env: { A: "b c\nd" },
      cwd: "/tmp",
      user: { uid: 1000, gid: 1001 },
      hostname: "inside",
    });
    assert.is(result.stdout, "b c\nd|/tmp|1000:1001|inside|two words|$(reboot)\n");
  },
  TIMEOUT,
);

s.test(
  "bytes go through stdin and stdout unchanged, 4 MiB of them",
  async () => {
    const container = await (await shared).run({ rootfs, command: ["cat"] });
    const input = randomBytes(4 * 1024 * 1024);
    container.stdin.end(input);
    const output = await container.stdout.bytes();
    assert.is(createHash("sha256").update(output).digest("hex"), createHash("sha256").update(input).digest("hex"));
    assert.equal(await container.wait(), { exitCode: 0 });
    await container.delete();
  },
  TIMEOUT,
);

s.test(
  "output written before the end is read after it, and lines() cuts it",
  async () => {
    const container = await (await shared).run({ rootfs, command: sh("printf 'a\\r\\nb\\n\\nlast'; printf e >&2") });
    assert.equal(await container.wait(), { exitCode: 0 });
    const lines: string[] = [];
    for await (const line of container.stdout.lines()) lines.push(line);
    assert.equal(lines, ["a", "b", "", "last"]);
    assert.is(await container.stderr.text(), "e");
    assert.is(container.state, "stopped");
    await container.delete();
  },
  TIMEOUT,
);

s.test(
  "a command that does not exist is an error with exit code 127 and the reason, one that cannot be executed with 126",
  async () => {
    const sandbox = await shared;
    const missing = await failureOf(sandbox.run({ id: "missing", rootfs, command: ["no-such-program"] }));
    assert.is(missing.code, "COMMAND_NOT_FOUND");
    assert.equal(missing.data, { command: "no-such-program", exitCode: 127 });
    const directory = await failureOf(sandbox.run({ id: "missing", rootfs, command: ["/etc"] }));
    assert.is(directory.code, "COMMAND_NOT_EXECUTABLE");
    assert.is(Reflect.get(directory.data, "exitCode"), 126);
    assert.is((await run(sandbox, { id: "missing", command: ["true"] })).exitCode, 0);
  },
  TIMEOUT,
);

s.test(
  "a rootfs or mount that does not exist is named, and nothing of the container is left",
  async () => {
    const sandbox = await shared;
    const rootfsError = await failureOf(sandbox.createContainer({ rootfs: join(directory, "none"), command: ["true"] }));
    assert.is(rootfsError.code, "INVALID_INPUT");
    assert.match(rootfsError.message, join(directory, "none"));
    const mounts = [{ source: join(directory, "gone"), target: "/x" }];
    const mountError = await failureOf(sandbox.createContainer({ rootfs, command: ["true"], mounts }));
    assert.match(mountError.message, "mounts.0.source");
    assert.equal(sandbox.containers(), []);
  },
  TIMEOUT,
);

s.test(
  "stop() ends a process that ignores SIGTERM, kill() one that does not; exit codes are 128 + the signal",
  async () => {
    const sandbox = await shared;
    const stubborn = await sandbox.run({ rootfs, command: sh("trap '' TERM; echo up; while :; do sleep 1; done") });
    for await (const line of stubborn.stdout.lines()) if (line === "up") break;
    await stubborn.stop({ timeoutMs: 300 });
    assert.equal(await stubborn.wait(), { exitCode: 137 });
    assert.is(stubborn.state, "stopped");
    await stubborn.delete();
    const polite = await sandbox.run({ rootfs, command: sh("trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done") });
    for await (const line of polite.stdout.lines()) if (line === "up") break;
    await polite.kill("SIGTERM");
    assert.equal(await polite.wait(), { exitCode: 3 });
    await polite.delete();
  },
  TIMEOUT,
);

s.test(
  "containers in one VM see neither each other's processes nor the agent's, and keep their files apart",
  async () => {
    const sandbox = await shared;
    const other = await sandbox.run({ id: "other", rootfs, command: sh("echo secret > /mine; echo up; sleep 600") });
    for await (const line of other.stdout.lines()) if (line === "up") break;
    // The shell may or may not become cat itself: what counts is that nobody else is there.
    const { stdout } = await run(sandbox, { command: sh("ls /mine 2>/dev/null; cat /proc/[0-9]*/comm") });
    const names = stdout.trim().split("\n");
    assert.ok(names.length > 0 && names.every((name) => name === "sh" || name === "cat"), stdout);
    await other.stop({ timeoutMs: 100 });
    await other.delete();
  },
  TIMEOUT,
);

s.test(
  "a stopped container starts again with a clean root file system",
  async () => {
    const container = await (await shared).run({ rootfs, command: sh("ls /trace 2>/dev/null; touch /trace; echo done") });
    assert.is(await container.stdout.text(), "done\n");
    await container.wait();
    await container.start();
    assert.is(await container.stdout.text(), "done\n");
    await container.wait();
    await container.delete();
  },
  TIMEOUT,
);

s.test(
  "pause() freezes the guest and resume() lets it go on",
  async () => {
    const sandbox = await shared;
    await sandbox.pause();
    assert.is(sandbox.state, "paused");
    assert.is((await failureOf(sandbox.createContainer({ rootfs, command: ["true"] }))).code, "INVALID_STATE");
    await sandbox.resume();
    assert.is((await run(sandbox, { command: ["true"] })).exitCode, 0);
  },
  TIMEOUT,
);

s.test(
  "the end of the engine leaves nothing on the host",
  async () => {
    await (await shared).run({ rootfs, command: ["sleep", "600"] });
    await world.engine.close();
    assert.equal(await world.host(), NOTHING);
    await world[Symbol.asyncDispose]();
  },
  TIMEOUT,
);

s.run();
