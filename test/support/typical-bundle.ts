/** A config.json of the kind that `runc spec` and container engines write, with a little of most that a VM can carry. */
export function typicalConfig() {
  const set = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
  return {
    ociVersion: "1.0.2-dev",
    process: {
      terminal: false,
      user: { uid: 1, gid: 2, additionalGids: [3], umask: 0o027 },
      args: ["sh", "-c", "id; cat /data/greeting"],
      env: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", "EQUALS=a=b"],
      cwd: "/",
      capabilities: { bounding: set, effective: set, permitted: set, ambient: [] },
      rlimits: [{ type: "RLIMIT_NOFILE", hard: 1024, soft: 512 }],
      noNewPrivileges: true,
      oomScoreAdj: 100,
    },
    root: { path: "rootfs", readonly: true },
    hostname: "runc",
    domainname: "example.org",
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755", "size=65536k"] },
      { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "gid=5"] },
      { destination: "/dev/shm", type: "tmpfs", source: "shm", options: ["nosuid", "noexec", "nodev", "mode=1777", "size=1m"] },
      { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
      { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] },
      { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["nosuid", "noexec", "nodev", "relatime", "ro"] },
      { destination: "/data", type: "bind", source: "data", options: ["rbind", "ro", "nosuid"] },
    ],
    annotations: { "org.example.key": "value" },
    linux: {
      namespaces: ["pid", "network", "ipc", "uts", "mount", "cgroup"].map((type) => ({ type })),
      cgroupsPath: "/somewhere/of/the/host",
      resources: {
        devices: [
          { allow: false, access: "rwm" },
          { allow: true, type: "c", major: 1, minor: 3, access: "rwm" },
          { allow: true, type: "c", major: 10, minor: 229, access: "rwm" },
        ],
        memory: { limit: 64 * 2 ** 20, disableOOMKiller: false },
        cpu: { shares: 512, quota: 150_000, period: 100_000 },
        pids: { limit: 100 },
      },
      devices: [{ path: "/dev/fuse", type: "c", major: 10, minor: 229, fileMode: 0o20600 }],
      sysctl: { "kernel.msgmax": "65536" },
      seccomp: { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 28 }] },
      maskedPaths: ["/proc/acpi", "/proc/kcore"],
      readonlyPaths: ["/proc/sys"],
    },
  };
}
