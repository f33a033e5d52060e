import { bytes, entry, message, number, packed, text } from "./by-hand.ts";

/** One message of a type with all its fields: as an object, and as its bytes by the field numbers of Kata's files. */
export interface Sample {
  readonly message: object;
  readonly wire: readonly Buffer[];
}

const container = { message: { container_id: "c" }, wire: [text(1, "c")] };
const process = { message: { container_id: "c", exec_id: "e" }, wire: [text(1, "c"), text(2, "e")] };
const empty = { message: {}, wire: [] };
/** The largest and the smallest that 64 bits hold, which a JavaScript number does not. */
const [MOST, LEAST] = ["9223372036854775807", "-9223372036854775808"];

const storage = {
  message: { driver: "blk", driver_options: ["d"], source: "10/05", fstype: "ext4", options: ["ro", "noload"], mount_point: "/run/s" },
  wire: [text(1, "blk"), text(2, "d"), text(3, "10/05"), text(4, "ext4"), text(5, "ro"), text(5, "noload"), text(6, "/run/s")],
};
const stringUser = { message: { uid: "1", gid: "2", additionalGids: ["3"] }, wire: [text(1, "1"), text(2, "2"), text(3, "3")] };

const v6 = { family: "v6", address: "fd00::2", mask: "64" };
const card = {
  message: {
    device: "eth0",
    name: "net0",
    IPAddresses: [v6],
    mtu: "1500",
    hwAddr: "02:00:00:00:00:01",
    pciAddr: "02/03",
    type: "veth",
    raw_flags: 128,
  },
  wire: [
    text(1, "eth0"),
    text(2, "net0"),
    message(3, number(1, 1), text(2, "fd00::2"), text(3, "64")),
    number(4, 1500),
    text(5, "02:00:00:00:00:01"),
    text(6, "02/03"),
    text(7, "veth"),
    number(8, 128),
  ],
};
const cardRequest = { message: { interface: card.message }, wire: [message(1, ...card.wire)] };
const route = {
  message: { dest: "10.0.0.0/8", gateway: "10.0.0.1", device: "net0", source: "10.0.0.2", scope: 253 },
  wire: [text(1, "10.0.0.0/8"), text(2, "10.0.0.1"), text(3, "net0"), text(4, "10.0.0.2"), number(5, 253)],
};
const routes = { message: { Routes: [route.message] }, wire: [message(1, ...route.wire)] };

const user = {
  message: { UID: 1000, GID: 100, AdditionalGids: [4, 300], Username: "u", Umask: { Bits: 18 } },
  wire: [number(1, 1000), number(2, 100), packed(3, 4, 300), text(4, "u"), message(1001, number(1, 18))],
};
const ociProcess = {
  message: {
    Terminal: true,
    ConsoleSize: { Height: 24, Width: 80 },
    User: user.message,
    Args: ["sh", "-c"],
    Env: ["A=b"],
    Cwd: "/",
    Capabilities: { Bounding: ["a"], Effective: ["b"], Inheritable: ["c"], Permitted: ["d"], Ambient: ["e"] },
    Rlimits: [{ Type: "RLIMIT_CORE", Hard: "18446744073709551615", Soft: "1" }],
    NoNewPrivileges: true,
    ApparmorProfile: "p",
    OOMScoreAdj: "-998",
    SelinuxLabel: "l",
  },
  wire: [
    number(1, true),
    message(2, number(1, 24), number(2, 80)),
    message(3, ...user.wire),
    text(4, "sh"),
    text(4, "-c"),
    text(5, "A=b"),
    text(6, "/"),
    message(7, text(1, "a"), text(2, "b"), text(3, "c"), text(4, "d"), text(5, "e")),
    message(8, text(1, "RLIMIT_CORE"), number(2, 2n ** 64n - 1n), number(3, 1)),
    number(9, true),
    text(10, "p"),
    number(11, -998),
    text(12, "l"),
  ],
};
const hook = {
  message: { Path: "/h", Args: ["h"], Env: ["A=b"], Timeout: "5" },
  wire: [text(1, "/h"), text(2, "h"), text(3, "A=b"), number(4, 5)],
};
const throttle = { message: { Major: "8", Minor: "16", Rate: "1000" }, wire: [number(1, 8), number(2, 16), number(3, 1000)] };
const resources = {
  message: {
    Devices: [{ Allow: true, Type: "c", Major: "-1", Minor: "3", Access: "rwm" }],
    Memory: { Limit: MOST, Reservation: LEAST, Swap: "3", Kernel: "4", KernelTCP: "5", Swappiness: "6", DisableOOMKiller: true },
    CPU: { Shares: "1", Quota: "-1", Period: "3", RealtimeRuntime: "4", RealtimePeriod: "5", Cpus: "0-1", Mems: "0" },
    Pids: { Limit: "7" },
    BlockIO: {
      Weight: 1,
      LeafWeight: 2,
      WeightDevice: [{ Major: "8", Minor: "16", Weight: 3, LeafWeight: 4 }],
      ThrottleReadBpsDevice: [throttle.message],
      ThrottleWriteBpsDevice: [throttle.message],
      ThrottleReadIOPSDevice: [throttle.message],
      ThrottleWriteIOPSDevice: [throttle.message],
    },
    HugepageLimits: [{ Pagesize: "2MB", Limit: "9" }],
    Network: { ClassID: 1, Priorities: [{ Name: "eth0", Priority: 2 }] },
  },
  wire: [
    message(1, number(1, true), text(2, "c"), number(3, -1), number(4, 3), text(5, "rwm")),
    message(2, number(1, 2n ** 63n - 1n), number(2, -(2n ** 63n)), number(3, 3), number(4, 4), number(5, 5), number(6, 6), number(7, true)),
    message(3, number(1, 1), number(2, -1), number(3, 3), number(4, 4), number(5, 5), text(6, "0-1"), text(7, "0")),
    message(4, number(1, 7)),
    message(
      5,
      number(1, 1),
      number(2, 2),
      message(3, number(1, 8), number(2, 16), number(3, 3), number(4, 4)),
      ...[4, 5, 6, 7].map((id) => message(id, ...throttle.wire)),
    ),
    message(6, text(1, "2MB"), number(2, 9)),
    message(7, number(1, 1), message(2, text(1, "eth0"), number(2, 2))),
  ],
};
const mapping = { message: { HostID: 1, ContainerID: 2, Size: 3 }, wire: [number(1, 1), number(2, 2), number(3, 3)] };
const linux = {
  message: {
    UIDMappings: [mapping.message],
    GIDMappings: [mapping.message],
    Sysctl: { "net.core.somaxconn": "256" },
    Resources: resources.message,
    CgroupsPath: "/c",
    Namespaces: [{ Type: "network", Path: "/n" }],
    Devices: [{ Path: "/dev/d", Type: "b", Major: "8", Minor: "1", FileMode: 0o600, UID: 1, GID: 2 }],
    Seccomp: {
      DefaultAction: "SCMP_ACT_ERRNO",
      Architectures: ["SCMP_ARCH_X86_64"],
      Syscalls: [
        {
          Names: ["read"],
          Action: "SCMP_ACT_ALLOW",
          Args: [{ Index: "1", Value: "2", ValueTwo: "3", Op: "SCMP_CMP_EQ" }],
          Errno: { Number: 1 },
        },
      ],
      Flags: ["SECCOMP_FILTER_FLAG_LOG"],
      DefaultErrno: { Number: 38 },
    },
    RootfsPropagation: "private",
    MaskedPaths: ["/m"],
    ReadonlyPaths: ["/r"],
    MountLabel: "ml",
    IntelRdt: { L3CacheSchema: "L3:0=f" },
  },
  wire: [
    message(1, ...mapping.wire),
    message(2, ...mapping.wire),
    entry(3, "net.core.somaxconn", text(2, "256")),
    message(4, ...resources.wire),
    text(5, "/c"),
    message(6, text(1, "network"), text(2, "/n")),
    message(7, text(1, "/dev/d"), text(2, "b"), number(3, 8), number(4, 1), number(5, 0o600), number(6, 1), number(7, 2)),
    message(
      8,
      text(1, "SCMP_ACT_ERRNO"),
      text(2, "SCMP_ARCH_X86_64"),
      message(
        3,
        text(1, "read"),
        text(2, "SCMP_ACT_ALLOW"),
        message(3, number(1, 1), number(2, 2), number(3, 3), text(4, "SCMP_CMP_EQ")),
        message(1001, number(1, 1)),
      ),
      text(1001, "SECCOMP_FILTER_FLAG_LOG"),
      message(1002, number(1, 38)),
    ),
    text(9, "private"),
    text(10, "/m"),
    text(11, "/r"),
    text(12, "ml"),
    message(13, text(1, "L3:0=f")),
  ],
};
/** CapitalCase names throughout, but for a mount's. */
const spec = {
  message: {
    Version: "1.0.2",
    Process: ociProcess.message,
    Root: { Path: "/run/r", Readonly: true },
    Hostname: "h",
    Mounts: [{ destination: "/d", source: "/s", type: "bind", options: ["ro"] }],
    Hooks: { Prestart: [hook.message], Poststart: [hook.message], Poststop: [hook.message] },
    Annotations: { k: "v" },
    Linux: linux.message,
    Solaris: { dummy: "s" },
    Windows: { dummy: "w" },
  },
  wire: [
    text(1, "1.0.2"),
    message(2, ...ociProcess.wire),
    message(3, text(1, "/run/r"), number(2, true)),
    text(4, "h"),
    message(5, text(1, "/d"), text(2, "/s"), text(3, "bind"), text(4, "ro")),
    message(6, message(1, ...hook.wire), message(2, ...hook.wire), message(3, ...hook.wire)),
    entry(7, "k", text(2, "v")),
    message(8, ...linux.wire),
    message(9, text(1, "s")),
    message(10, text(1, "w")),
  ],
};

const memory = {
  message: { usage: "1", max_usage: "2", failcnt: "3", limit: "18446744073709551615" },
  wire: [number(1, 1), number(2, 2), number(3, 3), number(4, 2n ** 64n - 1n)],
};
const io = {
  message: { major: "8", minor: "16", op: "Read", value: "4" },
  wire: [number(1, 8), number(2, 16), text(3, "Read"), number(4, 4)],
};
const stats = {
  message: {
    cgroup_stats: {
      cpu_stats: {
        cpu_usage: { total_usage: "1", percpu_usage: ["2", "300"], usage_in_kernelmode: "3", usage_in_usermode: "4" },
        throttling_data: { periods: "1", throttled_periods: "2", throttled_time: "3" },
      },
      memory_stats: {
        cache: "1",
        usage: memory.message,
        swap_usage: memory.message,
        kernel_usage: memory.message,
        use_hierarchy: true,
        stats: { anon: "5" },
      },
      pids_stats: { current: "1", limit: "2" },
      blkio_stats: {
        io_service_bytes_recursive: [io.message],
        io_serviced_recursive: [io.message],
        io_queued_recursive: [io.message],
        io_service_time_recursive: [io.message],
        io_wait_time_recursive: [io.message],
        io_merged_recursive: [io.message],
        io_time_recursive: [io.message],
        sectors_recursive: [io.message],
      },
      hugetlb_stats: { "2MB": { usage: "1", max_usage: "2", failcnt: "3" } },
    },
    network_stats: [
      {
        name: "eth0",
        rx_bytes: "1",
        rx_packets: "2",
        rx_errors: "3",
        rx_dropped: "4",
        tx_bytes: "5",
        tx_packets: "6",
        tx_errors: "7",
        tx_dropped: "8",
      },
    ],
  },
  wire: [
    message(
      1,
      message(
        1,
        message(1, number(1, 1), packed(2, 2, 300), number(3, 3), number(4, 4)),
        message(2, number(1, 1), number(2, 2), number(3, 3)),
      ),
      message(
        2,
        number(1, 1),
        message(2, ...memory.wire),
        message(3, ...memory.wire),
        message(4, ...memory.wire),
        number(5, true),
        entry(6, "anon", number(2, 5)),
      ),
      message(3, number(1, 1), number(2, 2)),
      message(4, ...[1, 2, 3, 4, 5, 6, 7, 8].map((id) => message(id, ...io.wire))),
      entry(5, "2MB", message(2, number(1, 1), number(2, 2), number(3, 3))),
    ),
    message(2, text(1, "eth0"), ...[2, 3, 4, 5, 6, 7, 8, 9].map((id) => number(id, id - 1))),
  ],
};

/** By the name of the type, as the services name it. */
export const CORPUS: Readonly<Record<string, Sample>> = {
  "google.protobuf.Empty": empty,
  CreateSandboxRequest: {
    message: {
      hostname: "h",
      dns: ["nameserver 10.0.2.3", "search é"],
      storages: [storage.message],
      sandbox_pidns: true,
      sandbox_id: "s",
      guest_hook_path: "/hooks",
      kernel_modules: [{ name: "loop", parameters: ["max_loop=3"] }],
    },
    wire: [
      text(1, "h"),
      text(2, "nameserver 10.0.2.3"),
      text(2, "search é"),
      message(3, ...storage.wire),
      number(4, true),
      text(5, "s"),
      text(6, "/hooks"),
      message(7, text(1, "loop"), text(2, "max_loop=3")),
    ],
  },
  DestroySandboxRequest: empty,
  GuestDetailsRequest: { message: { mem_block_size: true, mem_hotplug_probe: true }, wire: [number(1, true), number(2, true)] },
  GuestDetailsResponse: {
    message: {
      mem_block_size_bytes: "134217728",
      agent_details: {
        version: "1.4",
        init_daemon: true,
        device_handlers: ["blk"],
        storage_handlers: ["9p", "scsi"],
        supports_seccomp: true,
        extra_features: ["tapvisor.oci"],
      },
      support_mem_hotplug_probe: true,
    },
    wire: [
      number(1, 134_217_728),
      message(2, text(1, "1.4"), number(2, true), text(3, "blk"), text(4, "9p"), text(4, "scsi"), number(5, true), text(6, "tapvisor.oci")),
      number(3, true),
    ],
  },
  OnlineCPUMemRequest: { message: { wait: true, nb_cpus: 2, cpu_only: true }, wire: [number(1, true), number(2, 2), number(3, true)] },
  ReseedRandomDevRequest: { message: { data: Buffer.from([0, 255]) }, wire: [bytes(2, Buffer.from([0, 255]))] },
  CreateContainerRequest: {
    message: {
      container_id: "c",
      exec_id: "c",
      string_user: stringUser.message,
      devices: [{ id: "10/05", type: "blk", vm_path: "/dev/v", container_path: "/dev/d", options: ["o"] }],
      storages: [storage.message],
      OCI: spec.message,
      sandbox_pidns: true,
      agent_pidns: true,
    },
    wire: [
      text(1, "c"),
      text(2, "c"),
      message(3, ...stringUser.wire),
      message(4, text(1, "10/05"), text(2, "blk"), text(3, "/dev/v"), text(4, "/dev/d"), text(5, "o")),
      message(5, ...storage.wire),
      message(6, ...spec.wire),
      number(7, true),
      number(8, true),
    ],
  },
  StartContainerRequest: container,
  RemoveContainerRequest: { message: { container_id: "c", timeout: 300 }, wire: [text(1, "c"), number(2, 300)] },
  UpdateContainerRequest: {
    message: { container_id: "c", resources: resources.message },
    wire: [text(1, "c"), message(2, ...resources.wire)],
  },
  StatsContainerRequest: container,
  StatsContainerResponse: stats,
  PauseContainerRequest: container,
  ResumeContainerRequest: container,
  ExecProcessRequest: {
    message: { container_id: "c", exec_id: "e", string_user: stringUser.message, process: ociProcess.message },
    wire: [text(1, "c"), text(2, "e"), message(3, ...stringUser.wire), message(4, ...ociProcess.wire)],
  },
  SignalProcessRequest: { message: { ...process.message, signal: 15 }, wire: [...process.wire, number(3, 15)] },
  WaitProcessRequest: process,
  WaitProcessResponse: { message: { status: -1 }, wire: [number(1, -1)] },
  ListProcessesRequest: {
    message: { container_id: "c", format: "json", args: ["-o", "pid"] },
    wire: [text(1, "c"), text(2, "json"), text(3, "-o"), text(3, "pid")],
  },
  ListProcessesResponse: { message: { process_list: Buffer.from("[1]") }, wire: [text(1, "[1]")] },
  WriteStreamRequest: { message: { ...process.message, data: Buffer.from("in") }, wire: [...process.wire, text(3, "in")] },
  WriteStreamResponse: { message: { len: 2 }, wire: [number(1, 2)] },
  ReadStreamRequest: { message: { ...process.message, len: 4_294_967_295 }, wire: [...process.wire, number(3, 2n ** 32n - 1n)] },
  ReadStreamResponse: { message: { data: Buffer.from("out") }, wire: [text(1, "out")] },
  CloseStdinRequest: process,
  TtyWinResizeRequest: { message: { ...process.message, row: 24, column: 80 }, wire: [...process.wire, number(3, 24), number(4, 80)] },
  AddInterfaceRequest: cardRequest,
  UpdateInterfaceRequest: cardRequest,
  RemoveInterfaceRequest: cardRequest,
  "types.Interface": card,
  ListInterfacesRequest: empty,
  Interfaces: { message: { Interfaces: [card.message, card.message] }, wire: [message(1, ...card.wire), message(1, ...card.wire)] },
  UpdateRoutesRequest: { message: { routes: routes.message }, wire: [message(1, ...routes.wire)] },
  ListRoutesRequest: empty,
  Routes: routes,
  AddARPNeighborsRequest: {
    message: {
      neighbors: { ARPNeighbors: [{ toIPAddress: v6, device: "net0", lladdr: "02:00:00:00:00:09", state: 128, flags: -1 }] },
    },
    wire: [
      message(
        1,
        message(
          1,
          message(1, number(1, 1), text(2, "fd00::2"), text(3, "64")),
          text(2, "net0"),
          text(3, "02:00:00:00:00:09"),
          number(4, 128),
          number(5, -1),
        ),
      ),
    ],
  },
  StartTracingRequest: empty,
  StopTracingRequest: empty,
  MemHotplugByProbeRequest: { message: { memHotplugProbeAddr: ["1", "4294967296"] }, wire: [packed(1, 1, 2n ** 32n)] },
  SetGuestDateTimeRequest: { message: { Sec: "1700000000", Usec: "999999" }, wire: [number(1, 1_700_000_000), number(2, 999_999)] },
  CopyFileRequest: {
    message: {
      path: "/run/f",
      file_size: "4294967296",
      file_mode: 0o100644,
      dir_mode: 0o750,
      uid: -2,
      gid: 8,
      offset: "1048576",
      data: Buffer.from([1, 2]),
    },
    wire: [
      text(1, "/run/f"),
      number(2, 2n ** 32n),
      number(3, 0o100644),
      number(4, 0o750),
      number(5, -2),
      number(6, 8),
      number(7, 1_048_576),
      bytes(8, Buffer.from([1, 2])),
    ],
  },
  GetOOMEventRequest: empty,
  OOMEvent: container,
  CheckRequest: { message: { service: "s" }, wire: [text(1, "s")] },
  HealthCheckResponse: { message: { status: "NOT_SERVING" }, wire: [number(1, 2)] },
  VersionCheckResponse: {
    message: { grpc_version: "0.0.1", agent_version: "1.4", tapvisor_data_streams: 1, tapvisor_renewal: 1 },
    wire: [text(1, "0.0.1"), text(2, "1.4"), number(1000, 1), number(1001, 1)],
  },
};
