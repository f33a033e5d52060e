import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { GUEST_PATHS, type GuestPaths } from "../../../../plugins/guest-linux/agent/guest-paths.ts";
import { lateModules } from "../../../../plugins/guest-linux/agent/modules.ts";
import { ToolError } from "../../../../plugins/guest-linux/agent/runtime/tool-error.ts";
import { StatusError } from "../../../../plugins/guest-linux/agent/status.ts";
import { mountStorages, reserveStorages, unmountStorages } from "../../../../plugins/guest-linux/agent/storage/mount.ts";
import { planStorages, type Step } from "../../../../plugins/guest-linux/agent/storage/plan.ts";
import { suite } from "../../../support/suite.ts";
import { tempDirectory } from "../../../support/temp.ts";
import { fakeSys } from "./support/fake-sys.ts";

const s = suite("guest agent: storages");
const OWN = "/run/tapvisor-agent/containers/c";
const T = "/run/tapvisor/c";
const NEVER = new AbortController().signal;

function storage(driver: string, mount_point: string, more: { source?: string; fstype?: string; options?: readonly string[] } = {}) {
  return { driver, driver_options: [], source: "", fstype: "", options: [], mount_point, ...more };
}

function mounts(steps: readonly Step[]): readonly string[] {
  return steps.flatMap((step) => (step.kind === "mount" ? [`${step.fstype} ${step.source} ${step.target} ${step.options}`] : []));
}

s.test("a share with a copy-on-write view of it: two mounts, and a bounded tmpfs between", () => {
  const steps = planStorages(
    [storage("virtio-fs", T, { source: "tag" }), storage("overlayfs", `${T}-root`, { options: [`lowerdir=${T}/rootfs`, "size=64m"] })],
    GUEST_PATHS,
    OWN,
  );
  assert.equal(mounts(steps), [
    `virtiofs tag ${T} rw`,
    `tmpfs tmpfs ${OWN}/overlay-1 size=64m,mode=755`,
    `overlay overlay ${T}-root lowerdir=${T}/rootfs,upperdir=${OWN}/overlay-1/upper,workdir=${OWN}/overlay-1/work`,
  ]);
  const enter = steps.findIndex((step) => step.kind === "enter" && step.path === `${T}/rootfs`);
  assert.ok(enter > 0 && enter < steps.findIndex((step) => step.kind === "mount" && step.fstype === "overlay"));
});

s.test("upper and work directories of the request get a tmpfs, unless they lie on an earlier storage", () => {
  const options = [`lowerdir=${T}/rootfs`, `upperdir=${T}-rw/upper`, `workdir=${T}-rw/work`];
  const alone = planStorages([storage("overlayfs", `${T}-root`, { options })], GUEST_PATHS, OWN);
  assert.equal(mounts(alone)[0], `tmpfs tmpfs ${T}-rw size=50%,mode=755`);
  const on = planStorages([storage("ephemeral", `${T}-rw`), storage("overlayfs", `${T}-root`, { options })], GUEST_PATHS, OWN);
  assert.equal(mounts(on), [
    `tmpfs tmpfs ${T}-rw size=50%`,
    `overlay overlay ${T}-root lowerdir=${T}/rootfs,upperdir=${T}-rw/upper,workdir=${T}-rw/work`,
  ]);
});

s.test("a tmpfs is always bounded, a disk and a 9p share are straight mounts", () => {
  const steps = planStorages(
    [
      storage("ephemeral", `${T}/a`, { source: "shm", options: ["noexec", "size=1g"] }),
      storage("local", `${T}/b`),
      storage("blk", `${T}/d`, { source: "/dev/vdb", fstype: "ext4", options: ["ro"] }),
      storage("9p", `${T}/e`, { source: "kataShared", options: ["trans=virtio", "version=9p2000.L"] }),
    ],
    GUEST_PATHS,
    OWN,
  );
  assert.equal(mounts(steps), [
    `tmpfs shm ${T}/a noexec,size=1g`,
    `tmpfs tmpfs ${T}/b size=50%`,
    `ext4 /dev/vdb ${T}/d ro`,
    `9p kataShared ${T}/e trans=virtio,version=9p2000.L`,
  ]);
});

s.test("a mount point may end with a slash, as Kata's runtime writes that of a share, and is the same one", () => {
  assert.equal(mounts(planStorages([storage("virtio-fs", `${T}/`, { source: "tag" })], GUEST_PATHS, OWN)), [`virtiofs tag ${T} rw`]);
  const twice = [storage("virtio-fs", `${T}/`, { source: "tag" }), storage("ephemeral", T)];
  assert.throws(
    () => planStorages(twice, GUEST_PATHS, OWN),
    (error: Error) => error.message.includes("something is mounted there already"),
  );
  assert.throws(() => planStorages([storage("virtio-fs", `${T}//`, { source: "tag" })], GUEST_PATHS, OWN));
});

s.test("what could mount something else, or somewhere else, is refused", () => {
  const overlay = (...options: string[]) => storage("overlayfs", `${T}/o`, { options });
  const bad = [
    storage("nfs", `${T}/a`),
    storage("constructor", `${T}/a`),
    storage("ephemeral", "/etc"),
    storage("ephemeral", "/run/tapvisor"),
    storage("ephemeral", "/run/tapvisor/../x"),
    storage("ephemeral", "/run/tapvisor//x"),
    storage("ephemeral", "/run/tapvisor-agent/containers/c"),
    storage("ephemeral", `${T}/a//`),
    storage("ephemeral", `${T}/a`, { options: ["size=0"] }),
    storage("ephemeral", `${T}/a`, { options: ["size=lots"] }),
    storage("ephemeral", `${T}/a`, { options: ["ro,size=0"] }),
    storage("virtio-fs", T, { source: "-t tmpfs" }),
    storage("virtio-fs", T, { source: "" }),
    storage("blk", T, { source: "/etc/passwd", fstype: "ext4" }),
    storage("blk", T, { source: "/dev/../etc/passwd", fstype: "ext4" }),
    storage("blk", T, { source: "/dev/vdb", fstype: "" }),
    storage("blk", T, { source: "0:3", fstype: "ext4" }),
    storage("scsi", T, { source: "10/05", fstype: "ext4" }),
    storage("scsi", T, { source: "0:3", fstype: "" }),
    storage("scsi", T, { source: "", fstype: "ext4" }),
    overlay(),
    overlay("lowerdir=/etc"),
    overlay(`lowerdir=${T}/r`, `upperdir=${T}/u/a`),
    overlay(`lowerdir=${T}/r`, `upperdir=${T}/u/a`, `workdir=${T}/v/b`),
    overlay(`lowerdir=${T}/r`, `upperdir=${T}/u/a`, `workdir=${T}/u/a`),
    overlay(`lowerdir=${T}/r`, "upperdir=/run/x/a", "workdir=/run/x/b"),
    overlay(`lowerdir=${T}/r`, "ro"),
    overlay(`lowerdir=${T}/r,upperdir=/etc`),
  ];
  for (const each of bad) {
    try {
      planStorages([each], GUEST_PATHS, OWN);
    } catch (error) {
      assert.ok(error instanceof StatusError && error.status === "INVALID_ARGUMENT", JSON.stringify(each));
      continue;
    }
    assert.unreachable(JSON.stringify(each));
  }
  assert.throws(() => planStorages([storage("local", T), storage("local", T)], GUEST_PATHS, OWN), /mounted there already/);
});

async function world() {
  const directory = await tempDirectory();
  const at = (name: string) => join(directory.path, name);
  const paths: GuestPaths = { ...GUEST_PATHS, open: [at("open")], sys: at("sys"), dev: at("dev"), mounts: at("mounts") };
  await Promise.all([mkdir(at("dev")), mkdir(at("sys/bus/virtio/drivers/virtiofs"), { recursive: true }), writeFile(paths.mounts, "")]);
  const disks = { paths, modules: lateModules(at("none"), async () => "", { warn: () => {}, error: () => {} }) };
  return { at, paths, disks, own: at("own"), [Symbol.asyncDispose]: directory[Symbol.asyncDispose] };
}

s.test("all steps are one process, and what is outside of all mounts is made without one", async () => {
  await using here = await world();
  const steps = planStorages(
    [storage("local", here.at("open/a")), storage("overlayfs", here.at("open/root"), { options: [`lowerdir=${here.at("open/a")}`] })],
    here.paths,
    here.own,
  );
  const held = reserveStorages(steps);
  const runs: (readonly string[])[] = [];
  await mountStorages(steps, held, { ...here.disks, busybox: async (args) => String(runs.push(args)) }, NEVER);
  assert.is(runs.length, 1);
  assert.equal(held.targets, [here.at("open/a"), join(here.own, "overlay-1"), here.at("open/root")]);
  assert.equal((await readdir(here.at("open"))).sort(), ["a", "root"]);
  await unmountStorages(held, { ...here.disks, busybox: async () => "" });
  assert.equal(held, { targets: [], directories: [] });
  assert.not.ok((await readdir(here.at("."))).includes("open"));
});

s.test("a virtio-fs tag may appear after the first attempt, and only the rest is tried again", async () => {
  await using here = await world();
  const steps = planStorages(
    [storage("local", here.at("open/a")), storage("virtio-fs", here.at("open/b"), { source: "tag" }), storage("local", here.at("open/c"))],
    here.paths,
    here.own,
  );
  const runs: (readonly string[])[] = [];
  const busybox = async (args: readonly string[]) => {
    runs.push(args.filter((arg) => arg.startsWith(here.at("open"))));
    if (runs.length > 1) return "\n\n";
    setTimeout(() => void writeFile(here.at("sys/bus/virtio/drivers/virtiofs/virtio7"), ""), 30);
    throw new ToolError("x", "\n", "mount: mounting tag failed: Invalid argument");
  };
  await mountStorages(steps, reserveStorages(steps), { ...here.disks, busybox }, NEVER);
  assert.equal(runs, [
    [here.at("open/a"), here.at("open/b"), here.at("open/c")],
    [here.at("open/b"), here.at("open/c")],
  ]);
});

s.test("a tag that never appears is an error after the limit, another failure at once", async () => {
  await using here = await world();
  const steps = planStorages([storage("virtio-fs", here.at("open/b"), { source: "tag" })], here.paths, here.own);
  const failing = (reason: string) => async () => {
    throw new ToolError(reason, "", reason);
  };
  const attempt = (reason: string) =>
    mountStorages(steps, reserveStorages(steps), { ...here.disks, busybox: failing(reason) }, NEVER).then(
      () => "mounted",
      (error) => error.message,
    );
  assert.is(await attempt("mounting tag failed: Invalid argument"), "mounting tag failed: Invalid argument");
  assert.is(await attempt("mounting tag failed: Permission denied"), "mounting tag failed: Permission denied");
});

s.test("a disk is waited for in /dev", async () => {
  await using here = await world();
  const node = join(here.paths.dev, "vdb");
  const steps = planStorages([storage("blk", here.at("open/d"), { source: node, fstype: "ext4" })], here.paths, here.own);
  let ran = false;
  const mounted = mountStorages(
    steps,
    reserveStorages(steps),
    {
      ...here.disks,
      busybox: async () => {
        ran = true;
        return "";
      },
    },
    NEVER,
  );
  setTimeout(() => void writeFile(node, ""), 50);
  await mounted;
  assert.ok(ran);
});

s.test("a disk is mounted by where it is plugged in, read-only without its journal when the disk itself is", async () => {
  await using here = await world();
  const sys = fakeSys(here.paths);
  await sys.scsiDisk("0:3", "sda");
  await sys.pciDisk("10", "05", "vdb", { readonly: true });
  await sys.pciDisk("11", "06", "vdc", { readonly: true });
  const on = (driver: string, name: string, source: string, fstype: string) =>
    storage(driver, here.at(`open/${name}`), { source, fstype, options: ["ro"] });
  const storages = [on("scsi", "a", "0:3", "ext4"), on("blk", "b", "10/05", "ext4"), on("blk", "c", "11/06", "erofs")];
  const steps = planStorages(storages, here.paths, here.own);
  let run: readonly string[] = [];
  const busybox = async (args: readonly string[]) => {
    run = args;
    return "";
  };
  await mountStorages(steps, reserveStorages(steps), { ...here.disks, busybox }, NEVER);
  const node = (name: string) => join(here.paths.dev, name);
  assert.equal(run.slice(-15), [
    ...["mount", "ext4", "ro", node("sda"), here.at("open/a")],
    ...["mount", "ext4", "ro,noload", node("vdb"), here.at("open/b")],
    ...["mount", "erofs", "ro", node("vdc"), here.at("open/c")],
  ]);
});

s.test("what cannot be unmounted stays held and is named, and no file below it is removed", async () => {
  await using here = await world();
  const steps = planStorages([storage("local", here.at("open/a"))], here.paths, here.own);
  const held = reserveStorages(steps);
  const tools = { ...here.disks, busybox: async () => "" };
  await mountStorages(steps, held, tools, NEVER);
  await writeFile(here.at("open/a/precious"), "");
  await writeFile(here.paths.mounts, `tmpfs ${here.at("open/a")} tmpfs rw 0 0\n`);
  await unmountStorages(held, tools).then(
    () => assert.unreachable(),
    (error) => assert.match(error.message, here.at("open/a")),
  );
  assert.equal(held.targets, [here.at("open/a")]);
  await writeFile(here.paths.mounts, "");
  await unmountStorages(held, tools);
  assert.equal(await readdir(here.at("open/a")), ["precious"]);
});

s.run();
