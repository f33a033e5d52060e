import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BundleOptions, ContainerOptions } from "tapvisor";
import * as assert from "uvu/assert";
import { makeExampleRootfs } from "../../scripts/example-rootfs.ts";
import { failureOf, NOTHING, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";
import { typicalConfig } from "../support/typical-bundle.ts";

// One VM serves all tests of this file, since a boot under emulation takes seconds; the last test ends it and looks at what is left.
const s = suite("a container's specification on real QEMU");
const world = await realEngine();
const shared = world.engine.runSandbox({ id: "box", memory: "512MiB" });
const TIMEOUT = { timeoutMs: 120_000 };
const sh = (script: string) => ["sh", "-c", script];

async function run(options: Partial<ContainerOptions> | BundleOptions) {
  const given = "bundle" in options ? (options as BundleOptions) : ({ rootfs: world.rootfs, ...options } as ContainerOptions);
  const container = await (await shared).run(given);
  const [stdout, stderr] = await Promise.all([container.stdout.text(), container.stderr.text()]);
  const { exitCode } = await container.wait();
  await container.delete();
  return { stdout, stderr, exitCode };
}

/** A line of /proc/self/status in a container. */
async function status(options: Partial<ContainerOptions>): Promise<Record<string, string>> {
  const { stdout } = await run({ ...options, command: ["cat", "/proc/self/status"] });
  return Object.fromEntries(stdout.split("\n").map((line) => line.split(/:\s*/, 2) as [string, string]));
}

const bits = (...numbers: number[]) =>
  numbers
    .reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n)
    .toString(16)
    .padStart(16, "0");
const KILL = 5;
const NET_RAW = 13;

s.test(
  "by default a process has a few capabilities, cannot gain others, and is filtered",
  async () => {
    const own = await status({});
    const few = bits(0, 1, 3, 4, KILL, 6, 7, 8, 10, 18, 31);
    assert.equal([own.CapEff, own.CapPrm, own.CapBnd], [few, few, few]);
    assert.equal([own.CapInh, own.CapAmb], [bits(), bits()]);
    assert.equal([own.NoNewPrivs, own.Seccomp], ["1", "2"]);
    const open = await status({ noNewPrivileges: false, seccomp: "unconfined", capabilities: [] });
    assert.equal([open.NoNewPrivs, open.Seccomp, open.CapEff, open.CapBnd], ["0", "0", bits(), bits()]);
    const mask = (await status({ capabilities: ["ALL"] })).CapEff;
    assert.is(mask, bits(...Array.from({ length: 41 }, (_, bit) => bit)));
  },
  TIMEOUT,
);

s.test(
  "a user without privileges keeps the capabilities that are ambient, and no others",
  async () => {
    const one = ["NET_RAW"];
    const kept = await status({
      user: "nobody",
      capabilities: { bounding: one, permitted: one, effective: one, inheritable: one, ambient: one },
    });
    assert.equal([kept.CapEff, kept.Uid?.split("\t")[0]], [bits(NET_RAW), "65534"]);
    assert.is((await status({ user: "nobody", capabilities: ["NET_RAW"] })).CapEff, bits());
  },
  TIMEOUT,
);

s.test(
  "the default profile refuses what the kernel would grant: a user namespace, and only without CAP_SYS_ADMIN other ones and mounts",
  async () => {
    const refused = await run({ command: sh("unshare -U true; unshare -n true; exit 7") });
    assert.equal(refused.stderr.match(/Operation not permitted/g)?.length, 2, refused.stderr);
    assert.is(refused.exitCode, 7);
    assert.is((await run({ command: ["unshare", "-U", "true"], seccomp: "unconfined" })).exitCode, 0);
    const admin = await run({
      command: sh("mount -t tmpfs none /tmp && touch /tmp/x && unshare -n true"),
      capabilities: { add: ["SYS_ADMIN"] },
    });
    assert.is(admin.exitCode, 0, admin.stderr);
    assert.is((await run({ command: ["mount", "-t", "tmpfs", "none", "/tmp"] })).exitCode, 1);
  },
  TIMEOUT,
);

s.test(
  "a profile of the script's own is applied with its error number",
  async () => {
    const syscalls = [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 28 }];
    const { stderr, exitCode } = await run({ command: ["mkdir", "/tmp/new"], seccomp: { defaultAction: "SCMP_ACT_ALLOW", syscalls } });
    assert.match(stderr, "No space left on device");
    assert.is(exitCode, 1);
  },
  TIMEOUT,
);

s.test(
  "limits, umask, users and groups are those that were asked for",
  async () => {
    const limits = await run({
      command: sh("ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj; umask"),
      rlimits: { nofile: { soft: 100, hard: 200 }, core: 0 },
      oomScoreAdj: 500,
      umask: 0o027,
    });
    assert.is(limits.stdout, "100\n200\n0\n500\n0027\n");
    const rootfs = join(world.directory, "users");
    makeExampleRootfs(rootfs);
    await writeFile(join(rootfs, "etc/passwd"), "root:x:0:0:::\nweb:x:1000:100:::\n");
    await writeFile(join(rootfs, "etc/group"), "root:x:0:\nusers:x:100:\nlog:x:60:web\nstaff:x:50:\n");
    const id = async (user: ContainerOptions["user"]) => (await run({ rootfs, command: ["id"], ...(user && { user }) })).stdout.trim();
    assert.is(await id("web"), "uid=1000(web) gid=100(users) groups=60(log)");
    assert.is(await id("web:staff"), "uid=1000(web) gid=50(staff)");
    assert.is(await id("12:34"), "uid=12 gid=34");
    assert.is(await id({ uid: 5, gid: 6, additionalGids: [7, 8] }), "uid=5 gid=6 groups=7,8");
    const unknown = await failureOf(run({ rootfs, command: ["id"], user: "nobody" }));
    assert.is(unknown.code, "AGENT_FAILED");
    assert.match(unknown.message, /no user "nobody" in the container's \/etc\/passwd/);
  },
  TIMEOUT,
);

s.test(
  "paths are hidden or cannot be written, kernel parameters are the container's own, and nodes are there",
  async () => {
    const paths = await run({
      command: sh("cat /etc/passwd | wc -c; echo x > /etc/new; cat /proc/sys/kernel/msgmax; echo y > /proc/sys/kernel/msgmax"),
      maskedPaths: ["/etc/passwd"],
      readonlyPaths: ["/etc", "/proc/sys"],
      sysctl: { "kernel.msgmax": "65536" },
    });
    assert.is(paths.stdout, "0\n65536\n");
    assert.equal(paths.stderr.match(/Read-only file system/g)?.length, 2, paths.stderr);
    const own = await run({
      command: sh(
        "cat /proc/sys/kernel/msgmax /proc/sys/kernel/domainname; head -c 3 /dev/more-zeros | wc -c; ls -l /dev/more-zeros; ls /dev/fuse",
      ),
      sysctl: { "kernel.domainname": "example.org" },
      deviceNodes: [{ path: "/dev/more-zeros", major: 1, minor: 5, mode: 0o640 }],
    });
    assert.match(own.stdout, /^8192\nexample\.org\n3\ncrw-r-----/);
    assert.match(own.stderr, "/dev/fuse: No such file");
  },
  TIMEOUT,
);

s.test(
  "stop sends the signal that was asked for",
  async () => {
    const script = "trap 'exit 9' INT; trap 'exit 8' TERM; echo up; while :; do sleep 0.1; done";
    const container = await (await shared).run({ rootfs: world.rootfs, command: sh(script), stopSignal: "SIGINT" });
    for await (const line of container.stdout.lines()) if (line === "up") break;
    await container.stop();
    assert.is((await container.wait()).exitCode, 9);
    await container.delete();
  },
  TIMEOUT,
);

s.test(
  "a bundle runs as it is, its limits make the VM grow, and its files stay as they were",
  async () => {
    const bundle = join(world.directory, "bundle");
    makeExampleRootfs(join(bundle, "rootfs"));
    await mkdir(join(bundle, "data"));
    await writeFile(join(bundle, "data/greeting"), "hello\n");
    const config = typicalConfig();
    config.process.args = sh(
      "id; cat /data/greeting; hostname; ulimit -n; umask; mkdir /tmp/x; touch /data/x; grep CapBnd /proc/self/status; cat /sys/fs/cgroup/memory.max",
    );
    await writeFile(join(bundle, "config.json"), JSON.stringify(config));
    const before = await readFile(join(bundle, "config.json"), "utf8");
    const container = await (await shared).createContainer({ bundle });
    const { requests } = await (await shared).resources();
    assert.equal(requests[container.id], { vcpus: 2, memoryBytes: 64 * 2 ** 20 });
    await container.start();
    const [stdout, stderr] = await Promise.all([container.stdout.text(), container.stderr.text()]);
    await container.wait();
    await container.delete();
    assert.is(stdout, `uid=1 gid=2 groups=3\nhello\nrunc\n512\n0027\nCapBnd:\t${bits(KILL, 10, 29)}\n${64 * 2 ** 20}\n`);
    assert.match(stderr, /can't create directory '\/tmp\/x': No space left on device/);
    assert.match(stderr, /\/data\/x: Read-only file system/);
    assert.is(await readFile(join(bundle, "config.json"), "utf8"), before);
    const other = await run({ bundle, command: ["id", "-u"], user: { uid: 0 } });
    assert.is(other.stdout, "0\n");
  },
  TIMEOUT,
);

s.test(
  "nothing is left",
  async () => {
    await (await shared)[Symbol.asyncDispose]();
    assert.equal(await world.host(), NOTHING);
    await world[Symbol.asyncDispose]();
  },
  TIMEOUT,
);

s.run();
