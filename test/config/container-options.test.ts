import * as assert from "uvu/assert";
import { isTapvisorError } from "../../src/base/errors.ts";
import { type ContainerConfig, containerConfig } from "../../src/config/container-config.ts";
import { suite } from "../support/suite.ts";

const s = suite("container options");
const MINIMAL = { rootfs: "/srv/rootfs", command: ["true"] };
const given = (options: object): ContainerConfig => containerConfig({ ...MINIMAL, ...options });
const sets = (set: readonly string[]) => ({ bounding: set, effective: set, permitted: set, inheritable: [], ambient: [] });

s.test("what is not given is the safe choice", () => {
  const config = given({});
  assert.is(config.noNewPrivileges, true);
  assert.is(config.seccomp, "default");
  assert.is(config.tty, false);
  assert.is(config.stopSignal, "SIGTERM");
  assert.equal(config.rlimits, [{ type: "RLIMIT_NOFILE", soft: 1024, hard: 4096 }]);
  assert.ok(config.maskedPaths.includes("/proc/kcore"));
  assert.ok(config.readonlyPaths.includes("/proc/sys"));
  const { bounding, inheritable, ambient } = config.capabilities;
  assert.ok(bounding.includes("CAP_CHOWN"));
  for (const reaching of ["CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_MKNOD", "CAP_SYS_PTRACE"])
    assert.not.ok(bounding.includes(reaching), reaching);
  assert.equal([inheritable, ambient], [[], []]);
});

s.test("capabilities: a list is exact, add and drop change the default set, drop first", () => {
  assert.equal(given({ capabilities: [] }).capabilities, sets([]));
  assert.equal(given({ capabilities: ["NET_RAW", "CAP_KILL", "NET_RAW"] }).capabilities, sets(["CAP_NET_RAW", "CAP_KILL"]));
  assert.equal(given({ capabilities: { drop: ["ALL"], add: ["KILL"] } }).capabilities, sets(["CAP_KILL"]));
  const added = given({ capabilities: { add: ["SYS_TIME"], drop: ["CAP_CHOWN"] } }).capabilities.bounding;
  assert.ok(added.includes("CAP_SYS_TIME") && !added.includes("CAP_CHOWN") && added.includes("CAP_KILL"));
  assert.is(given({ capabilities: ["ALL"] }).capabilities.bounding.length, 41);
  const ambient = { bounding: ["KILL"], permitted: ["KILL"], effective: ["KILL"], inheritable: ["KILL"], ambient: ["KILL"] };
  assert.equal(given({ capabilities: ambient }).capabilities.ambient, ["CAP_KILL"]);
});

s.test("a user is numbers, or a name that is left to the guest", () => {
  assert.equal(given({ user: { uid: 5 } }).user, { uid: 5, gid: 5, additionalGids: [] });
  assert.equal(given({ user: { uid: 5, gid: 6, additionalGids: [7] } }).user, { uid: 5, gid: 6, additionalGids: [7] });
  assert.equal(given({ user: "web:staff" }).user, { uid: 0, gid: 0, additionalGids: [], name: "web:staff" });
});

s.test("rlimits: a number is both limits, and given ones are all of them", () => {
  assert.equal(given({ rlimits: { core: 0, nproc: { soft: 1, hard: "unlimited" } } }).rlimits, [
    { type: "RLIMIT_CORE", soft: 0, hard: 0 },
    { type: "RLIMIT_NPROC", soft: 1, hard: 2 ** 64 },
  ]);
});

const BAD: readonly (readonly [options: object, path: string, wanted: RegExp])[] = [
  [{ capabilities: "ALL" }, "capabilities", /a list, \{ add, drop \}/],
  [{ capabilities: ["NET_ROW"] }, "capabilities.0", /a capability of Linux/],
  [{ capabilities: { add: ["net_raw"] } }, "capabilities.add.0", /a capability of Linux/],
  [{ capabilities: { plus: [] } }, "capabilities.plus", /a list, \{ add, drop \}/],
  [{ capabilities: { effective: ["KILL"] } }, "capabilities.effective", /in permitted too/],
  [{ capabilities: { permitted: ["KILL"], ambient: ["KILL"] } }, "capabilities.ambient", /inheritable too/],
  [{ user: 1000 }, "user", /"user:group"/],
  [{ user: "a:b:c" }, "user", /"user:group"/],
  [{ user: "" }, "user", /"user:group"/],
  [{ user: { uid: 1, name: "x" } }, "user.name", /"user:group"/],
  [{ umask: 0o1000 }, "umask", /0o777/],
  [{ umask: "022" }, "umask", /permission bits/],
  [{ rlimits: { files: 1 } }, "rlimits.files", /one of as, core/],
  [{ rlimits: { core: -1 } }, "rlimits.core", /0/],
  [{ rlimits: { core: { soft: 2, hard: 1 } } }, "rlimits.core", /soft not above hard/],
  [{ noNewPrivileges: "yes" }, "noNewPrivileges", /true or false/],
  [{ oomScoreAdj: -1 }, "oomScoreAdj", /0 or more/],
  [{ ttySize: { rows: 1, columns: 1 } }, "ttySize", /tty: true/],
  [{ tty: true, ttySize: { rows: 0, columns: 1 } }, "ttySize.rows", /at least 1/],
  [{ stopSignal: "SIGSTOPP" }, "stopSignal", /a signal's name/],
  [{ stopSignal: 0 }, "stopSignal", /a signal's name/],
  [{ stopSignal: "toString" }, "stopSignal", /a signal's name/],
  [{ seccomp: "none" }, "seccomp", /"unconfined"/],
  [{ seccomp: { defaultAction: "ALLOW" } }, "seccomp.defaultAction", /SCMP_ACT_ALLOW/],
  [{ seccomp: { defaultAction: "SCMP_ACT_NOTIFY" } }, "seccomp.defaultAction", /one of/],
  [
    { seccomp: { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: [], action: "SCMP_ACT_LOG" }] } },
    "seccomp.syscalls.0.names",
    /one name/,
  ],
  [{ maskedPaths: ["proc"] }, "maskedPaths.0", /absolute path/],
  [{ readonlyPaths: ["/a/../b"] }, "readonlyPaths.0", /without "\.\."/],
  [{ sysctl: { "vm.swappiness": "1" } }, "sysctl.vm.swappiness", /whole VM's/],
  [{ sysctl: { "net.ipv4.ip_forward": "1" } }, "sysctl.net.ipv4.ip_forward", /share the network/],
  [{ sysctl: { "kernel.hostname": "x" } }, "sysctl.kernel.hostname", /option hostname/],
  [{ sysctl: { "kernel/msgmax": "1" } }, "sysctl.kernel/msgmax", /with dots/],
  [{ sysctl: { "fs.mqueue.../../../x": "1" } }, "sysctl.fs.mqueue.../../../x", /with dots/],
  [{ sysctl: { "kernel.msgmax": 65536 } }, "sysctl.kernel.msgmax", /string/],
  [{ deviceNodes: [{ path: "/fuse", major: 10, minor: 229 }] }, "deviceNodes.0.path", /below \/dev/],
  [{ deviceNodes: [{ path: "/dev/mem", major: 1, minor: 1 }] }, "deviceNodes.0.minor", /guest's own memory/],
  [{ deviceNodes: [{ path: "/dev/sda", type: "b", major: 8, minor: 0 }] }, "deviceNodes.0.type", /type/],
  [{ mounts: [{ source: "/a", target: "/b", options: ["shared"] }] }, "mounts.0.options.0", /one of nosuid/],
];

for (const [options, path, wanted] of BAD) {
  s.test(`refuses ${JSON.stringify(options)}`, () => {
    try {
      given(options);
    } catch (error) {
      if (!isTapvisorError(error)) throw error;
      assert.is(error.code, "INVALID_INPUT");
      assert.is(Reflect.get(error.data, "path"), path);
      assert.match(error.message, wanted);
      return;
    }
    assert.unreachable("it was taken");
  });
}

s.run();
