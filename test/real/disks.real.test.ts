import { execFileSync } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ContainerOptions, Sandbox } from "tapvisor";
import * as assert from "uvu/assert";
import { MiB } from "../../src/base/units.ts";
import { checkAgreement, memoryOf, type Subject } from "../support/agreement.ts";
import { guestShell } from "../support/guest-shell.ts";
import { failureOf, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";
import { watchedBackends } from "../support/watched-backends.ts";
import { hostView, stateFiles } from "../support/whole-world.ts";

// One VM serves all tests of this file, since a boot under emulation takes seconds; the last test ends it and looks at what is left.
const s = suite("disks and volumes on real QEMU");
const TIMEOUT = { timeoutMs: 180_000 };
const backends = watchedBackends();
const world = await realEngine({ plugins: backends.plugins });
const { engine, rootfs, root, directory } = world;
const empty = await hostView(root);
const at = (name: string) => join(directory, name);

const shared: Promise<Subject> = (async () => {
  const sandbox = await engine.runSandbox({ id: "box" });
  const shell = await guestShell(sandbox, { id: "looker", rootfs });
  return { sandbox, shell, grant: backends.grant("box"), bootMemory: await memoryOf(shell) };
})();

async function image(name: string, content: string | Buffer = "", bytes = 4 * MiB): Promise<string> {
  const data = Buffer.alloc(bytes);
  data.set(Buffer.from(content));
  await writeFile(at(name), data);
  return at(name);
}

/** An ext4 file system that holds a copy of a directory. */
function fileSystem(name: string, from: string): string {
  execFileSync("mkfs.ext4", ["-q", "-d", from, "-L", "test", at(name), "32M"], { stdio: "pipe" });
  return at(name);
}

async function output(sandbox: Sandbox, options: Omit<ContainerOptions, "command">, script: string) {
  const container = await sandbox.run({ ...options, command: ["sh", "-c", script] });
  const [stdout, stderr] = await Promise.all([container.stdout.text(), container.stderr.text()]);
  const { exitCode } = await container.wait();
  await container.delete();
  return { stdout, stderr, exitCode };
}

s.test(
  "a container has a disk image as a device node: it reads what the host wrote, and the host what it writes",
  async () => {
    const { sandbox } = await shared;
    const path = await image("data.img", "from the host");
    const script = "head -c 13 /dev/data; echo; printf 'from the guest' | dd of=/dev/data conv=notrunc 2>/dev/null; sync";
    const { stdout, exitCode } = await output(sandbox, { rootfs, devices: [{ path, target: "/dev/data" }] }, script);
    assert.equal([stdout, exitCode], ["from the host\n", 0]);
    assert.is((await readFile(path)).subarray(0, 14).toString(), "from the guest");
    await checkAgreement(await shared, "the container is gone");
  },
  TIMEOUT,
);

s.test(
  "a block device of the host is given by its path alone, and one that is read-only cannot be written",
  async () => {
    const { sandbox } = await shared;
    const path = await image("loop.img", "in a loop device");
    const loop = execFileSync("losetup", ["--find", "--show", path], { encoding: "utf8" }).trim();
    try {
      const script = `head -c 16 ${loop}; echo; echo x > ${loop}`;
      const { stdout, exitCode } = await output(sandbox, { rootfs, devices: [{ path: loop, readonly: true }] }, script);
      assert.is(stdout, "in a loop device\n");
      assert.is.not(exitCode, 0);
      const mounted = await output(sandbox, { rootfs, mounts: [{ source: loop, target: "/dev/other" }] }, "head -c 16 /dev/other");
      assert.is(mounted.stdout, "in a loop device");
    } finally {
      execFileSync("losetup", ["-d", loop]);
    }
    assert.is((await readFile(path)).subarray(0, 16).toString(), "in a loop device");
  },
  TIMEOUT,
);

for (const driver of ["virtio-scsi", "virtio-blk"] as const) {
  s.test(
    `a rootfs on a disk by ${driver}: copy-on-write leaves the image alone, read-only refuses, shared writes to it`,
    async () => {
      const { sandbox } = await shared;
      const block = fileSystem(`rootfs-${driver}.img`, rootfs);
      const before = await readFile(block);
      const script = "echo changed > /etc/passwd; cat /etc/passwd; mount | head -c 0; id -u";
      const copied = await output(sandbox, { rootfs: { block }, devices: [] }, script);
      assert.equal([copied.stdout, copied.exitCode], ["changed\n0\n", 0]);
      assert.ok((await readFile(block)).equals(before), "the image is as it was");
      const readonly = await output(sandbox, { rootfs: { block, access: "readonly" } }, "echo x > /new");
      assert.match(readonly.stderr, "Read-only file system");
      const shares = await output(sandbox, { rootfs: { block, access: "shared" } }, "echo kept > /kept && sync");
      assert.is(shares.exitCode, 0, shares.stderr);
      const again = await output(sandbox, { rootfs: { block, access: "readonly" } }, "cat /kept");
      assert.is(again.stdout, "kept\n");
      await checkAgreement(await shared, "after the rootfs disks");
    },
    TIMEOUT,
  );
}

s.test(
  "a file system on a disk is mounted where it is asked for, read-only or not",
  async () => {
    const { sandbox } = await shared;
    await mkdir(at("tree"));
    await writeFile(join(at("tree"), "file"), "on a disk\n");
    const block = fileSystem("tree.img", at("tree"));
    const readonly = await output(
      sandbox,
      { rootfs, mounts: [{ block, target: "/data", readonly: true }] },
      "cat /data/file; echo x > /data/x",
    );
    assert.is(readonly.stdout, "on a disk\n");
    assert.match(readonly.stderr, "Read-only file system");
    const first = await output(sandbox, { rootfs, mounts: [{ block, target: "/data" }] }, "echo more >> /data/file; sync");
    assert.is(first.exitCode, 0, first.stderr);
    const second = await output(sandbox, { rootfs, mounts: [{ block, target: "/data", readonly: true }] }, "cat /data/file");
    assert.is(second.stdout, "on a disk\nmore\n");
  },
  TIMEOUT,
);

s.test(
  "named volumes keep what containers write, tmpfs does not, and /dev/shm has the size asked for",
  async () => {
    const { sandbox } = await shared;
    const mounts = [
      { volume: "cache", target: "/cache" },
      { tmpfs: true as const, target: "/scratch", size: "8MiB" },
    ];
    const script =
      "cat /cache/note /scratch/note 2>/dev/null; echo kept > /cache/note; echo lost > /scratch/note; df -k /scratch /dev/shm | tail -n2 | awk '{ print $2 }'";
    const first = await output(sandbox, { rootfs, mounts, shmSize: "16MiB" }, script);
    assert.equal([first.stdout, first.exitCode], ["8192\n16384\n", 0]);
    const second = await output(sandbox, { rootfs, mounts }, "cat /cache/note; cat /scratch/note");
    assert.is(second.stdout, "kept\n");
    assert.equal(
      (await engine.volumes()).map(({ name }) => name),
      ["cache"],
    );
    const holder = await sandbox.createContainer({ id: "holder", rootfs, command: ["true"], mounts: [{ volume: "cache", target: "/c" }] });
    const error = await failureOf(engine.removeVolume("cache"));
    assert.is(error.code, "VOLUME_IN_USE");
    await holder.delete();
    await engine.removeVolume("cache");
    assert.equal(await engine.volumes(), []);
  },
  TIMEOUT,
);

s.test(
  "a read-only bind mount cannot be written, and a symbolic link in it does not lead out of it",
  async () => {
    const { sandbox } = await shared;
    await mkdir(at("bound"));
    execFileSync("ln", ["-s", "/etc/hostname", join(at("bound"), "link")]);
    const script = "echo x > /bound/x; cat /bound/link";
    const result = await output(sandbox, { rootfs, mounts: [{ source: at("bound"), target: "/bound", readonly: true }] }, script);
    assert.match(result.stderr, "Read-only file system");
    assert.not.match(result.stdout, (await readFile("/etc/hostname", "utf8")).trim());
  },
  TIMEOUT,
);

s.test(
  "32 disks are plugged in and taken out again, and indexes are used again",
  async () => {
    const subject = await shared;
    const paths = await Promise.all(Array.from({ length: 32 }, (_, number) => image(`many-${number}.img`, `disk ${number}`, MiB)));
    const devices = [];
    for (const path of paths) devices.push(await subject.sandbox.addDevice({ path }));
    assert.is(new Set(devices.map(({ node }) => node)).size, 32);
    await checkAgreement(subject, "with 32 disks");
    for (const device of devices.slice(0, 16)) await subject.sandbox.removeDevice(device.id);
    await checkAgreement(subject, "with 16 disks");
    const again = await subject.sandbox.addDevice({ path: paths[0] ?? "" });
    await checkAgreement(subject, "with 17 disks");
    for (const { id } of [again, ...devices.slice(16)]) await subject.sandbox.removeDevice(id);
    await checkAgreement(subject, "without disks");
  },
  TIMEOUT,
);

s.test(
  "one disk is shared by the sandbox and its containers, and stays until the last lets go of it",
  async () => {
    const subject = await shared;
    const { sandbox } = subject;
    const path = await image("common.img", "common");
    const device = await sandbox.addDevice({ path });
    const options = { rootfs, devices: [{ path, target: "/dev/data" }], command: ["sleep", "600"] };
    const web = await sandbox.run({ ...options, id: "web" });
    const db = await sandbox.run({ ...options, id: "db" });
    assert.equal(sandbox.devices()[0]?.containers, ["web", "db"]);
    const attached = await failureOf(sandbox.removeDevice(device.id));
    assert.is(attached.code, "DEVICE_ATTACHED");
    await web[Symbol.asyncDispose]();
    await checkAgreement(subject, "web is gone");
    await db[Symbol.asyncDispose]();
    await checkAgreement(subject, "db is gone");
    await sandbox.removeDevice(device.id);
    await checkAgreement(subject, "nobody has it");
  },
  TIMEOUT,
);

s.test(
  "a disk that the first container plugged in stays for the second when the first goes",
  async () => {
    const subject = await shared;
    const { sandbox } = subject;
    const path = await image("handed.img", "handed over");
    const options = { rootfs, devices: [{ path, target: "/dev/data", readonly: true }] };
    const first = await sandbox.run({ ...options, id: "first", command: ["sleep", "600"] });
    await using second = await guestShell(sandbox, { ...options, id: "second" });
    await first[Symbol.asyncDispose]();
    assert.is(await second.ask("head -c 11 /dev/data; echo"), "handed over");
    await checkAgreement(subject, "the first is gone");
  },
  TIMEOUT,
);

s.test(
  "a disk that something in the guest still uses is not taken out: a clear error, and nothing is lost",
  async () => {
    const subject = await shared;
    const { sandbox } = subject;
    const device = await sandbox.addDevice({ path: fileSystem("used.img", at("tree")) });
    const client = backends.client("box");
    const call = { signal: AbortSignal.timeout(30_000), log: (await import("pino")).pino({ level: "silent" }) };
    const web = await sandbox.createContainer({ id: "probe", rootfs, command: ["true"] });
    // Behind the engine's back, as a guest that does as it likes would.
    const request = {
      container: "stranger",
      storages: [{ driver: "scsi", source: "0:0", fstype: "ext4", options: [], mountPoint: "/run/kata-containers/stranger/disk" }],
      spec: strangerSpec(),
    };
    await client.createContainer(request, call);
    const error = await failureOf(sandbox.removeDevice(device.id));
    assert.is(error.code, "DEVICE_IN_USE");
    await checkAgreement(subject, "refused");
    await client.removeContainer("stranger", call);
    await sandbox.removeDevice(device.id);
    await web.delete();
    await checkAgreement(subject, "removed");
  },
  TIMEOUT,
);

function strangerSpec() {
  return {
    ociVersion: "1.1.0",
    root: { path: "/run/kata-containers/stranger/disk", readonly: true },
    process: { terminal: false, user: { uid: 0, gid: 0 }, args: ["true"], env: [], cwd: "/", noNewPrivileges: true },
    mounts: [],
    linux: { namespaces: [{ type: "mount" }], maskedPaths: [], readonlyPaths: [] },
  };
}

s.test(
  "a path that is a directory, missing or a named pipe is refused with its field, and nothing has been plugged in",
  async () => {
    const subject = await shared;
    execFileSync("mkfifo", [at("fifo")]);
    for (const path of [directory, at("missing"), at("fifo"), "/dev/null"]) {
      const added = await failureOf(subject.sandbox.addDevice({ path }));
      assert.equal([added.code, Reflect.get(added.data, "path")], ["INVALID_INPUT", "device.path"], path);
      const created = await failureOf(
        subject.sandbox.createContainer({ rootfs, command: ["true"], devices: [{ path, target: "/dev/x" }] }),
      );
      assert.equal([created.code, Reflect.get(created.data, "path")], ["INVALID_INPUT", "container.devices.0.path"], path);
    }
    const source = await failureOf(
      subject.sandbox.createContainer({ rootfs, command: ["true"], mounts: [{ source: at("fifo"), target: "/x" }] }),
    );
    assert.is(source.code, "INVALID_INPUT");
    await checkAgreement(subject, "refused");
  },
  TIMEOUT,
);

s.test(
  "the end of the sandbox leaves nothing",
  async () => {
    const { sandbox } = await shared;
    await sandbox.addDevice({ path: await image("last.img", "still plugged in") });
    await sandbox.stop();
    await sandbox.delete();
    assert.equal(await hostView(root), empty);
    assert.equal(await stateFiles(root), []);
    await world[Symbol.asyncDispose]();
  },
  TIMEOUT,
);

s.run();
