import { createHash, randomBytes } from "node:crypto";
import { link, lstat, mkdir, readdir, readFile, readlink, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { packTar } from "modern-tar";
import type { Container } from "tapvisor";
import * as assert from "uvu/assert";
import { failureOf, NOTHING, realEngine } from "../support/real-engine.ts";
import { suite } from "../support/suite.ts";

// One VM and one container serve all tests of this file; the last test ends them and looks at what is left.
const s = suite("files of containers on real QEMU");
const world = await realEngine();
const { rootfs, directory, engine } = world;
const data = join(directory, "data");
const TIMEOUT = { timeoutMs: 300_000 };

async function begin() {
  await mkdir(data);
  await writeFile(join(data, "greeting"), "hello\n");
  const sandbox = await engine.runSandbox({ id: "box", memory: "512MiB" });
  const mounts = [
    { source: data, target: "/data", readonly: true },
    { tmpfs: true, target: "/scratch", size: "1MiB" },
  ] as const;
  const created = await sandbox.createContainer({ id: "web", rootfs, command: ["sh", "-c", RACE], mounts });
  return { sandbox, web: created };
}

/** Exchanges a directory for a link out of the container, again and again, while /race exists. */
const RACE = `mkdir -p /race/keep && echo inside > /race/keep/agent.cjs
while :; do
  while [ -e /race/go ]; do
    mv /race/keep /race/d; mv /race/d /race/keep
    ln -s ../../../../../../usr/lib/tapvisor /race/d; rm /race/d
    ln -s /proc/1/root/usr/lib/tapvisor /race/d; rm /race/d
  done
  sleep 0.1
done`;

const shared = begin();
const errnoOf = async (work: Promise<unknown>) => {
  const { code, data: about } = await failureOf(work);
  return code === "FILE_FAILED" ? Reflect.get(about, "errno") : code;
};
const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** What a command in another container of the same files would be: here the container's own shell, by its files alone. */
const entriesOf = async (web: Container, path: string) => (await web.files.list(path)).map(({ name }) => name);

s.test(
  "before its start a container has its root file system, and what is to be mounted in it is refused",
  async () => {
    const { web } = await shared;
    await web.files.write("/etc/before", "written before the start\n");
    assert.is(await web.files.readText("/etc/before"), "written before the start\n");
    assert.is(await errnoOf(web.files.readText("/data/greeting")), "ENXIO");
    assert.is(await errnoOf(web.files.write("/scratch/x", "lost")), "ENXIO");
    await web.start();
  },
  TIMEOUT,
);

s.test(
  "a running container's mounts are its files too: a directory of the host, read-only, and a tmpfs",
  async () => {
    const { web } = await shared;
    assert.is(await web.files.readText("/data/greeting"), "hello\n");
    assert.is(await web.files.readText("/etc/before"), "written before the start\n");
    assert.is(await errnoOf(web.files.write("/data/no", "x")), "EROFS");
    await web.files.write("/scratch/x", "in memory");
    assert.is(await web.files.readText("/scratch/x"), "in memory");
    assert.is(await errnoOf(web.files.remove("/scratch", { recursive: true })), "EBUSY");
    assert.is(await web.files.readText("/scratch/x"), "in memory", "the mount was emptied");
    assert.is(await errnoOf(web.files.write("/scratch/large", randomBytes(1_200_000))), "ENOSPC");
    assert.equal(await entriesOf(web, "/scratch"), ["x"]);
  },
  TIMEOUT,
);

s.test(
  "binary data of odd sizes comes back as it was, whole and by offset; a stream too",
  async () => {
    const { web } = await shared;
    for (const size of [0, 1, 255, 4096, 65_537, 262_144, 262_145, 700_001]) {
      const bytes = randomBytes(size);
      await web.files.write("/tmp/odd", bytes);
      assert.ok(bytes.equals(await web.files.read("/tmp/odd")), `${size} bytes`);
      assert.is((await web.files.stat("/tmp/odd")).size, size);
    }
    await web.files.write(
      "/tmp/odd",
      (async function* () {
        for (let piece = 0; piece < 7; piece++) yield `${piece}`.repeat(33_333);
      })(),
    );
    assert.is(await web.files.readText("/tmp/odd", { offset: 33_330, length: 6 }), "000111");
    await web.files.write("/tmp/odd", "+", { append: true });
    const chunks: Buffer[] = [];
    for await (const chunk of web.files.readStream("/tmp/odd", { offset: 233_330 })) chunks.push(chunk as Buffer);
    assert.is(Buffer.concat(chunks).toString(), "6+");
  },
  TIMEOUT,
);

s.test(
  "links lead where they lead in the container, and never out of it",
  async () => {
    const { web } = await shared;
    const archive = await packTar(
      Object.entries({
        abs: "/etc/passwd",
        up: "../../../../../../../../etc/passwd",
        out: "../../../../../usr/lib/tapvisor/agent.cjs",
        guest: "/usr/lib/tapvisor/agent.cjs",
        root: "/proc/1/root/usr/lib/tapvisor/agent.cjs",
        self: "/proc/self/root/etc/passwd",
        loop: "loop",
        gone: "/nowhere",
      }).map(([name, linkname]) => ({ header: { name, linkname, type: "symlink" as const, size: 0 } })),
    );
    await web.files.tarIn([archive], "/links");
    const own = await web.files.readText("/etc/passwd");
    for (const name of ["abs", "up"]) assert.is(await web.files.readText(`/links/${name}`), own, name);
    for (const name of ["out", "guest", "root", "gone"]) assert.is(await errnoOf(web.files.read(`/links/${name}`)), "NOT_FOUND", name);
    assert.not.equal(await errnoOf(web.files.read("/links/self").then(() => web.files.read("/links/loop"))), "ok");
    assert.is(await errnoOf(web.files.read("/links/loop")), "ELOOP");
    const { type, target } = await web.files.stat("/links/up", { follow: false });
    assert.equal([type, target], ["link", "../../../../../../../../etc/passwd"]);
  },
  TIMEOUT,
);

s.test(
  "a process that exchanges a directory for links out of the container gains nothing by it",
  async () => {
    const { web } = await shared;
    await web.files.write("/race/go", "");
    const seen = new Set<string>();
    const reading = async () => {
      for (let time = 0; time < 30; time++) {
        seen.add(await web.files.readText("/race/d/agent.cjs").catch((error) => error.data?.errno ?? error.code));
        seen.add(
          await web.files.write("/race/d/new", "x").then(
            () => "written",
            (error) => error.data?.errno ?? error.code,
          ),
        );
      }
    };
    await Promise.all([reading(), reading()]);
    await web.files.remove("/race/go");
    console.log(`120 reads and writes against the exchange: ${[...seen].map((each) => JSON.stringify(each)).join(", ")}`);
    for (const each of seen)
      assert.ok(["inside\n", "NOT_FOUND", "written", "ENOTDIR", "ELOOP", "ENOENT"].includes(each), each.slice(0, 200));
  },
  TIMEOUT,
);

s.test(
  "devices and FIFOs are refused at once; files of /proc are read and not written",
  async () => {
    const { web } = await shared;
    for (const path of ["/dev/null", "/dev/zero"]) {
      assert.is(await errnoOf(web.files.read(path)), "EINVAL");
      assert.is(await errnoOf(web.files.write(path, "x")), "EINVAL");
      assert.is((await web.files.stat(path)).type, "character");
    }
    assert.match(await web.files.readText("/proc/1/cmdline"), "sh\0-c\0");
    assert.match(await web.files.readText("/proc/meminfo"), "MemTotal");
    assert.is(await errnoOf(web.files.write("/proc/1/oom_score_adj", "0", { inPlace: true })), "EPERM");
    assert.is(await errnoOf(web.files.read("/etc")), "EISDIR");
  },
  TIMEOUT,
);

s.test(
  "a watch tells of a file that a process of the container and this script make",
  async () => {
    const { web } = await shared;
    await using watch = web.files.watch("/race");
    await watch.ready;
    await web.files.write("/race/go", ""); // the process begins to make and remove /race/d
    const names = new Set<string>();
    for await (const { name } of watch) {
      names.add(name);
      if (names.has("go") && names.has("d")) break;
    }
    await web.files.remove("/race/go");
  },
  TIMEOUT,
);

s.test(
  "a tree with modes, links, unicode and long names goes in and comes out the same",
  async () => {
    const { web } = await shared;
    const tree = join(directory, "tree");
    const deep = join(tree, "d".repeat(200), "e".repeat(200));
    await mkdir(deep, { recursive: true });
    await mkdir(join(tree, "empty"), { mode: 0o700 });
    for (const [name, mode] of [
      ["ünïcødé ✓", 0o644],
      ["script", 0o755],
      ["private", 0o600],
      ["f".repeat(255), 0o640],
    ] as const)
      await writeFile(join(tree, name), randomBytes(1000), { mode });
    await writeFile(join(deep, "large"), randomBytes(1_500_000));
    await link(join(tree, "script"), join(tree, "same"));
    for (const [name, target] of [
      ["relative", "script"],
      ["below", `${"d".repeat(200)}/${"e".repeat(200)}`],
      ["dangling", "nowhere"],
    ] as const)
      await symlink(target, join(tree, name));
    await utimes(join(tree, "private"), 1_600_000_000, 1_600_000_000);
    await web.files.upload(tree, "/tree");
    const back = join(directory, "back");
    await web.files.download("/tree", back);
    assert.equal(await shapeOf(back), await shapeOf(tree));
    assert.is((await lstat(join(back, "same"))).ino, (await lstat(join(back, "script"))).ino);
    assert.is((await web.files.stat("/tree/script")).uid, 0);
  },
  TIMEOUT,
);

/** Everything below a directory, with what counts of it. */
async function shapeOf(root: string): Promise<unknown[]> {
  const names = (await readdir(root, { recursive: true })).sort();
  return Promise.all(
    names.map(async (name) => {
      const path = join(root, name);
      const stat = await lstat(path);
      if (stat.isSymbolicLink()) return [name, await readlink(path)];
      return [name, stat.mode & 0o7777, stat.isFile() ? [sha(await readFile(path)), Math.floor(stat.mtimeMs / 1000)] : "directory"];
    }),
  );
}

s.test(
  "hostile archives are refused, and what they can do stays below the target",
  async () => {
    const { web } = await shared;
    const hostile = async (...entries: readonly object[]) => {
      const archive = await packTar(entries.map((header) => ({ header: { size: 0, ...header } })) as never);
      return web.files.tarIn([archive], "/target").then(
        () => "unpacked",
        (error) => error.code,
      );
    };
    for (const header of [
      { name: "../outside" },
      { name: "a/../../outside" },
      { name: "/outside" },
      { name: "device", type: "character-device" },
      { name: "fifo", type: "fifo" },
      { name: "hard", type: "link", linkname: "../../etc/passwd" },
      { name: "hard", type: "link", linkname: "/etc/passwd" },
    ])
      assert.is(await hostile(header), "INVALID_INPUT", JSON.stringify(header));
    const out = [{ name: "out", type: "symlink", linkname: "/etc" }, { name: "out/planted" }];
    assert.is(await hostile(...out), "unpacked", "the target is the root of its links");
    assert.is(await web.files.exists("/etc/planted"), false);
    assert.is(
      await hostile({ name: "etc/", type: "directory" }, { name: "up", type: "symlink", linkname: "../../etc" }, { name: "up/planted" }),
      "unpacked",
    );
    assert.equal([await web.files.exists("/etc/planted"), await web.files.exists("/target/etc/planted")], [false, true]);
  },
  TIMEOUT,
);

s.test(
  "a directory with a link out of it is not taken, and nothing is written outside",
  async () => {
    const { web } = await shared;
    const target = join(directory, "taken");
    const error = await failureOf(web.files.download("/links", target));
    assert.is(error.code, "GUEST_PROTOCOL");
    assert.match(error.message, "etc/passwd");
  },
  TIMEOUT,
);

s.test(
  "a read-only root file system says so, before and after the start",
  async () => {
    const { sandbox } = await shared;
    const fixed = await sandbox.createContainer({ rootfs: { directory: rootfs, access: "readonly" }, command: ["sleep", "60"] });
    for (let time = 0; time < 2; time++) {
      const error = await failureOf(fixed.files.write("/etc/new", "x"));
      assert.equal([error.code, Reflect.get(error.data, "errno")], ["FILE_FAILED", "EROFS"]);
      assert.ok(error.hint?.includes("read-only"));
      assert.match(await fixed.files.readText("/etc/passwd"), "root");
      if (time === 0) await fixed.start();
    }
    await fixed.stop({ force: true });
    assert.match(await fixed.files.readText("/etc/passwd"), "root");
    await fixed.delete();
  },
  TIMEOUT,
);

s.test(
  "a container with a watch and a half-written file is removed, and nothing is left anywhere",
  async () => {
    const { sandbox, web } = await shared;
    const watch = web.files.watch("/etc");
    await watch.ready;
    let ended = false;
    const watching = (async () => {
      for await (const _ of watch);
      ended = true;
    })();
    await web.stop({ force: true });
    await watching;
    assert.ok(ended);
    await web.delete();
    assert.is((await failureOf(web.files.stat("/"))).code, "NOT_FOUND");
    await sandbox.stop();
    await sandbox.delete();
    await engine.close();
    assert.equal(await world.host(), NOTHING);
    await world[Symbol.asyncDispose]();
  },
  TIMEOUT,
);

s.run();
