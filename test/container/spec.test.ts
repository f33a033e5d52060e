import fc from "fast-check";
import * as assert from "uvu/assert";
import { isTapvisorError } from "../../src/base/errors.ts";
import { type ContainerConfig, containerConfig } from "../../src/config/container-config.ts";
import { processSpec } from "../../src/container/process-spec.ts";
import { defaultSeccomp } from "../../src/container/seccomp/default-profile.ts";
import { guestSpec, hostSpec } from "../../src/container/spec.ts";
import { ociFromWire, ociToWire } from "../../src/protocol/kata/index.ts";
import { suite } from "../support/suite.ts";

const s = suite("a container's specification");
const SHARE = { type: "share", directory: "/host-only/rootfs" } as const;
const MINIMAL = { id: "web", rootfs: "/host-only/rootfs", command: ["sh", "-c", "true"] };

const SYSTEM_MOUNTS = [
  { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
  { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755", "size=65536k"] },
  { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
  { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
  { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] },
  { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["nosuid", "noexec", "nodev", "relatime", "ro"] },
  { destination: "/dev/shm", type: "tmpfs", source: "shm", options: ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
];

s.test("the short form's least: what an agent of Kata's expects, and what is safe", () => {
  const { seccomp, ...linux } = guestSpec(containerConfig(MINIMAL), "box", SHARE, { seccomp: defaultSeccomp([]) }).linux;
  assert.is(seccomp?.defaultAction, "SCMP_ACT_ERRNO");
  const set = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "SETFCAP",
  ];
  const capabilities = set.map((name) => `CAP_${name}`);
  assert.equal(
    { ...guestSpec(containerConfig(MINIMAL), "box", SHARE), linux },
    {
      ociVersion: "1.1.0",
      hostname: "box",
      root: { path: "/run/kata-containers/web/rootfs", readonly: false },
      process: {
        terminal: false,
        user: { uid: 0, gid: 0 },
        args: ["sh", "-c", "true"],
        env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        cwd: "/",
        capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities, inheritable: [], ambient: [] },
        rlimits: [{ type: "RLIMIT_NOFILE", soft: 1024, hard: 4096 }],
        noNewPrivileges: true,
      },
      mounts: SYSTEM_MOUNTS,
      annotations: {},
      linux: {
        namespaces: [{ type: "ipc" }, { type: "uts" }, { type: "mount" }],
        maskedPaths: [
          "/proc/acpi",
          "/proc/kcore",
          "/proc/keys",
          "/proc/latency_stats",
          "/proc/timer_list",
          "/proc/sched_debug",
          "/proc/scsi",
          "/sys/firmware",
        ],
        readonlyPaths: ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        cgroupsPath: "/tapvisor/web",
        resources: { devices: [{ allow: false, access: "rwm" }] },
      },
    },
  );
});

s.test("every option has its place", () => {
  const spec = guestSpec(
    containerConfig({
      ...MINIMAL,
      user: "web:staff",
      umask: 0o077,
      tty: true,
      ttySize: { rows: 24, columns: 80 },
      capabilities: ["KILL"],
      noNewPrivileges: false,
      rlimits: { core: 0 },
      oomScoreAdj: 500,
      hostname: "other",
      maskedPaths: ["/proc/kcore"],
      readonlyPaths: [],
      sysctl: { "kernel.msgmax": "65536" },
      deviceNodes: [{ path: "/dev/fuse", major: 10, minor: 229 }],
      resources: { vcpus: 1.5, memory: "64MiB", pids: 9 },
      mounts: [
        { source: "/host-only/data", target: "/data", readonly: true, options: ["noexec"] },
        { tmpfs: true, target: "/scratch", size: "1MiB", mode: 0o700, options: [] },
      ],
    }),
    "box",
    SHARE,
  );
  const capabilities = { bounding: ["CAP_KILL"], effective: ["CAP_KILL"], permitted: ["CAP_KILL"], inheritable: [], ambient: [] };
  assert.equal(spec.hostname, "other");
  assert.equal(spec.process, {
    terminal: true,
    consoleSize: { height: 24, width: 80 },
    user: { uid: 0, gid: 0, username: "web:staff", umask: 0o077 },
    args: ["sh", "-c", "true"],
    env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    cwd: "/",
    capabilities,
    rlimits: [{ type: "RLIMIT_CORE", soft: 0, hard: 0 }],
    noNewPrivileges: false,
    oomScoreAdj: 500,
  });
  assert.equal(spec.mounts.slice(SYSTEM_MOUNTS.length), [
    {
      destination: "/data",
      type: "bind",
      source: "/run/kata-containers/shared/containers/web/mount-0",
      options: ["rbind", "rprivate", "ro", "noexec"],
    },
    { destination: "/scratch", type: "tmpfs", source: "tmpfs", options: ["mode=700", "size=1024k"] },
  ]);
  assert.equal(spec.linux, {
    namespaces: [{ type: "ipc" }, { type: "uts" }, { type: "mount" }],
    maskedPaths: ["/proc/kcore"],
    readonlyPaths: [],
    cgroupsPath: "/tapvisor/web",
    resources: {
      cpu: { quota: 150_000, period: 100_000 },
      memory: { limit: 2 ** 26 },
      pids: { limit: 9 },
      devices: [
        { allow: false, access: "rwm" },
        { allow: true, type: "c", major: 10, minor: 229, access: "rwm" },
      ],
    },
    devices: [{ path: "/dev/fuse", type: "c", major: 10, minor: 229, fileMode: 0o666 }],
    sysctl: { "kernel.msgmax": "65536" },
  });
});

s.test("one more process has the container's rights and limits, and otherwise what is its own", () => {
  const config = containerConfig({
    ...MINIMAL,
    env: { A: "1", B: "1" },
    tty: true,
    ttySize: { rows: 2, columns: 3 },
    umask: 0,
    capabilities: [],
  });
  const own = processSpec(config);
  const other = processSpec(config, {
    args: ["id"],
    env: { B: "2" },
    cwd: "/tmp",
    user: { uid: 5, gid: 6, additionalGids: [7] },
    tty: false,
  });
  const { consoleSize: _, ...shared } = own;
  assert.equal(other, {
    ...shared,
    terminal: false,
    args: ["id"],
    env: [own.env[0], "A=1", "B=2"],
    cwd: "/tmp",
    user: { uid: 5, gid: 6, additionalGids: [7], umask: 0 },
  });
  assert.equal(processSpec(config, { ttySize: { rows: 9, columns: 9 } }).consoleSize, { height: 9, width: 9 });
});

s.test("no specification for the guest holds a path of the host, and each comes back the same over the wire", () => {
  const seen = { taken: 0, binds: 0 };
  fc.assert(
    fc.property(options(), (given) => {
      const config = configOr(given);
      if (!config) return;
      seen.taken++;
      const spec = guestSpec(config, "box", SHARE, { seccomp: defaultSeccomp(config.capabilities.bounding) });
      assert.not.match(JSON.stringify(spec), "host-only");
      assert.equal(ociFromWire(ociToWire(spec)), withoutEmpty(spec));
      if (config.mounts.length > 0) {
        seen.binds++;
        assert.match(JSON.stringify(hostSpec(config, SHARE, "box")), "host-only");
      }
    }),
    { numRuns: 300 },
  );
  assert.ok(seen.taken > 200 && seen.binds > 20, JSON.stringify(seen));
});

/** An absent and an empty list of annotations are the same on the wire. */
function withoutEmpty(spec: ReturnType<typeof guestSpec>): unknown {
  const { annotations, ...rest } = spec;
  return JSON.parse(JSON.stringify(Object.keys(annotations ?? {}).length > 0 ? spec : rest));
}

function configOr(given: object): ContainerConfig | undefined {
  try {
    return containerConfig({ ...MINIMAL, ...given });
  } catch (error) {
    if (isTapvisorError(error)) return undefined;
    throw error;
  }
}

function options(): fc.Arbitrary<object> {
  const name = fc.stringMatching(/^[a-z]{1,8}$/);
  const id = fc.nat(65_535);
  const capabilities = fc.subarray(["KILL", "SYS_ADMIN", "CAP_NET_RAW", "ALL"]);
  return fc.record(
    {
      env: fc.dictionary(name, fc.string(), { noNullPrototype: true }),
      cwd: name.map((each) => `/${each}`),
      user: fc.oneof(name, fc.record({ uid: id, gid: id, additionalGids: fc.array(id) }, { requiredKeys: ["uid"] })),
      umask: fc.nat(0o777),
      hostname: name,
      capabilities: fc.oneof(capabilities, fc.record({ add: capabilities, drop: capabilities }, { requiredKeys: [] })),
      noNewPrivileges: fc.boolean(),
      rlimits: fc.dictionary(fc.constantFrom("core", "nofile"), fc.nat(), { noNullPrototype: true }),
      oomScoreAdj: fc.nat(1000).filter(Boolean),
      annotations: fc.dictionary(name, name, { noNullPrototype: true }),
      rootfs: fc.constantFrom("copy-on-write", "readonly", "shared").map((access) => ({ directory: "/host-only/rootfs", access })),
      mounts: fc
        .uniqueArray(name, { maxLength: 3 })
        .map((names) => names.map((each) => ({ source: `/host-only/${each}`, target: `/${each}` }))),
      sysctl: fc.constant({ "fs.mqueue.msg_max": "5" }),
    },
    { requiredKeys: [] },
  );
}

s.run();
