import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { isTapvisorError } from "../../src/base/errors.ts";
import { containerConfig } from "../../src/config/container-config.ts";
import { guestSpec } from "../../src/container/spec.ts";
import { suite } from "../support/suite.ts";
import { tempDirectory } from "../support/temp.ts";
import { typicalConfig } from "../support/typical-bundle.ts";

const s = suite("OCI bundles");
/** A bundle with the typical config.json, in which other values stand at some dotted paths. */
async function bundleOf(changes: Readonly<Record<string, unknown>> = {}) {
  const directory = await tempDirectory();
  const config = typicalConfig();
  for (const [path, value] of Object.entries(changes)) put(config, path.split("."), value);
  await mkdir(join(directory.path, "rootfs"));
  await writeFile(join(directory.path, "config.json"), JSON.stringify(config));
  return directory;
}

function put(at: object, [name = "", ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) Reflect.set(at, name, value);
  else {
    if (Reflect.get(at, name) === undefined) Reflect.set(at, name, {});
    put(Reflect.get(at, name), rest, value);
  }
}

s.test("a typical configuration is carried: what the guest makes is left to it, the rest is its own", async () => {
  await using bundle = await bundleOf();
  const config = containerConfig({ bundle: bundle.path, id: "web" });
  assert.equal(config.rootfs, { source: { kind: "directory", path: join(bundle.path, "rootfs") }, access: "readonly" });
  const share = { type: "share", directory: join(bundle.path, "rootfs") } as const;
  const { mounts, ...spec } = guestSpec(config, "box", share);
  assert.equal(mounts.at(-1), {
    destination: "/data",
    type: "bind",
    source: "/run/kata-containers/shared/containers/web/mount-0",
    options: ["rbind", "rprivate", "ro", "nosuid"],
  });
  assert.equal(mounts.filter(({ destination }) => destination === "/proc").length, 1);
  assert.match(mounts.find(({ destination }) => destination === "/dev/shm")?.options.join() ?? "", "size=1024k");
  const set = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
  assert.equal(spec, {
    ociVersion: "1.1.0",
    hostname: "runc",
    root: { path: "/run/kata-containers/web/rootfs", readonly: true },
    process: {
      terminal: false,
      user: { uid: 1, gid: 2, additionalGids: [3], umask: 0o027 },
      args: ["sh", "-c", "id; cat /data/greeting"],
      env: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", "EQUALS=a=b"],
      cwd: "/",
      capabilities: { bounding: set, effective: set, permitted: set, inheritable: [], ambient: [] },
      rlimits: [{ type: "RLIMIT_NOFILE", soft: 512, hard: 1024 }],
      noNewPrivileges: true,
      oomScoreAdj: 100,
    },
    annotations: { "org.example.key": "value" },
    linux: {
      namespaces: [{ type: "ipc" }, { type: "uts" }, { type: "mount" }],
      maskedPaths: ["/proc/acpi", "/proc/kcore"],
      readonlyPaths: ["/proc/sys"],
      cgroupsPath: "/tapvisor/web",
      resources: {
        cpu: { quota: 150_000, period: 100_000, shares: 512 },
        memory: { limit: 2 ** 26 },
        pids: { limit: 100 },
        devices: [
          { allow: false, access: "rwm" },
          { allow: true, type: "c", major: 10, minor: 229, access: "rwm" },
        ],
      },
      devices: [{ path: "/dev/fuse", type: "c", major: 10, minor: 229, fileMode: 0o600 }],
      sysctl: { "kernel.msgmax": "65536", "kernel.domainname": "example.org" },
    },
  });
  assert.equal(config.seccomp, {
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 28 }],
  });
});

s.test("what a configuration leaves out is what the specification makes of it: no profile, no hidden paths, no capabilities", async () => {
  await using bundle = await bundleOf({
    ...Object.fromEntries(["mounts", "linux", "hostname", "domainname", "annotations"].map((part) => [part, undefined])),
    process: { user: { uid: 0, gid: 0 }, args: ["sh"], cwd: "/" },
    root: { path: "rootfs" },
  });
  const config = containerConfig({ bundle: bundle.path });
  assert.is(config.seccomp, "unconfined");
  assert.equal([config.maskedPaths, config.readonlyPaths, config.rlimits], [[], [], []]);
  assert.equal(config.capabilities.bounding, []);
  assert.is(config.noNewPrivileges, false);
  assert.is(config.rootfs.access, "copy-on-write");
});

s.test("what is given beside a bundle takes its place, environment and annotations name by name", async () => {
  await using bundle = await bundleOf();
  const config = containerConfig({
    bundle: bundle.path,
    command: ["id"],
    env: { TERM: "dumb", MORE: "1" },
    annotations: { mine: "x" },
    user: "web",
    seccomp: "default",
    resources: { vcpus: 1 },
    cwd: undefined,
  });
  assert.equal(config.command, ["id"]);
  assert.equal([config.env.TERM, config.env.MORE, config.env.EQUALS], ["dumb", "1", "a=b"]);
  assert.equal(config.annotations, { "org.example.key": "value", mine: "x" });
  assert.is(config.user.name, "web");
  assert.is(config.seccomp, "default");
  assert.is(config.resources.memoryBytes, undefined);
  assert.is(config.cwd, "/");
});

/** Fields, what stands there, and what is wanted in its place. */
const BAD: readonly (readonly [field: string, value: unknown, wanted: RegExp, at?: string])[] = [
  ["ociVersion", "2.0.0", /1\.1\.x/],
  ["process", undefined, /process/],
  ["process.args", [], /program's name/],
  ["process.env.1", "TERM", /NAME=value/],
  ["process.cwd", "tmp", /absolute/],
  ["process.user.uid", -1, /0 or more/],
  ["process.user.username", "x", /another operating system/],
  ["process.capabilities.bounding.0", "CAP_FLY", /capability of Linux/],
  ["process.rlimits", 4096, /soft not above hard/, "process.rlimits.0.soft"],
  ["process.rlimits.0.type", "NOFILE", /RLIMIT_NOFILE/],
  ["process.oomScoreAdj", -500, /0 or more/],
  ["process.apparmorProfile", "p", /security module/],
  ["process.selinuxLabel", "l", /security module/],
  ["process.scheduler", { policy: "SCHED_FIFO" }, /guest has nothing/],
  ["root.path", "", /a path/],
  ["mounts.0.type", "bind", /makes \/proc itself/],
  ["mounts.8.type", { destination: "/x", type: "ext4", source: "/dev/sda1" }, /bind/, "mounts.8"],
  ["mounts.7.options.3", "shared", /another option/],
  ["mounts.7.uidMappings", [{ hostID: 1, containerID: 0, size: 1 }], /user namespaces/],
  ["mounts", { destination: "/sys/x", type: "bind", source: "/x" }, /another path/, "mounts.8"],
  ["hooks.startContainer", [{ path: "/bin/true" }], /in the guest/],
  ["hooks.prestart.0.path", [{ path: "/no/such" }], /exists and can be executed/, "hooks.prestart"],
  ["linux.namespaces.0.path", "/proc/1/ns/pid", /nothing of the host/],
  ["linux.namespaces.6.type", { type: "user" }, /pid, network/, "linux.namespaces.6"],
  ["linux.uidMappings", [{ hostID: 1000, containerID: 0, size: 1 }], /user namespaces/],
  ["linux.devices.1.type", { path: "/dev/sda", type: "b", major: 8, minor: 0 }, /option devices/, "linux.devices.1"],
  ["linux.resources.devices.3", { allow: true, access: "rwm" }, /all others are refused/],
  ["linux.resources.memory.swappiness", 60, /guest has nothing/],
  ["linux.resources.memory.swap", 1, /not less than memory.limit/],
  ["linux.resources.cpu.realtimeRuntime", 1, /guest has nothing/],
  ["linux.resources.blockIO", { weight: 10 }, /guest has nothing/],
  ["linux.resources.unified", { "io.max": "x" }, /guest has nothing/],
  ["linux.sysctl.vm.swappiness", { "vm.swappiness": "1" }, /whole VM's/, "linux.sysctl"],
  ["linux.seccomp.defaultAction", "ALLOW", /SCMP_ACT_ALLOW/],
  ["linux.rootfsPropagation", "shared", /private/],
  ["linux.intelRdt", { closID: "x" }, /guest has nothing/],
  ["linux.misspelt", 1, /does not know it/],
  ["windows", { layerFolders: ["x"] }, /another operating system/],
];

for (const [field, value, wanted, at = field] of BAD) {
  s.test(`refuses ${field} ${JSON.stringify(value)}`, async () => {
    await using bundle = await bundleOf({ [at]: value });
    try {
      containerConfig({ bundle: bundle.path });
    } catch (error) {
      if (!isTapvisorError(error)) throw error;
      assert.is(error.code, "INVALID_INPUT");
      assert.is(Reflect.get(error.data, "path"), `bundle.${field}`);
      assert.match(error.message, `${join(bundle.path, "config.json")}: ${field} is `);
      assert.match(error.message, wanted);
      return;
    }
    assert.unreachable("it was taken");
  });
}

s.test("what says nothing may be there, and what an option beside it replaces need not be right", async () => {
  await using empty = await bundleOf({
    "process.apparmorProfile": "",
    "linux.resources.blockIO": { weight: 0, weightDevice: [] },
    "linux.uidMappings": [],
    "linux.intelRdt": null,
    windows: {},
  });
  containerConfig({ bundle: empty.path });
  await using wrong = await bundleOf({ "process.capabilities.bounding.0": "CAP_FLY" });
  assert.equal(containerConfig({ bundle: wrong.path, capabilities: [] }).capabilities.bounding, []);
});

s.test("a bundle that is not there, or is no JSON, is refused by its file", async () => {
  await using directory = await tempDirectory();
  const refusal = (bundle: unknown) => {
    try {
      containerConfig({ bundle } as never);
    } catch (error) {
      return String(error);
    }
    return "taken";
  };
  assert.match(refusal(directory.path), `${directory.path}/config.json cannot be read`);
  await writeFile(join(directory.path, "config.json"), "{");
  assert.match(refusal(directory.path), "cannot be read as JSON");
  assert.match(refusal(7), "container.bundle 7");
});

s.run();
