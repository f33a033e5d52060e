import * as assert from "uvu/assert";
import {
  agentServiceDefinition as agent,
  guestServiceDefinition as guest,
  healthServiceDefinition as health,
} from "../../../src/protocol/kata/index.ts";
import { suite } from "../../support/suite.ts";

interface Codec {
  readonly encode: (message: never) => Buffer;
  readonly decode: (bytes: Buffer) => unknown;
}

const request = (name: keyof typeof agent): Codec => ({
  encode: agent[name]?.requestSerialize as never,
  decode: agent[name]?.requestDeserialize as never,
});
const response = (name: keyof typeof agent): Codec => ({
  encode: agent[name]?.responseSerialize as never,
  decode: agent[name]?.responseDeserialize as never,
});

const guestRequest = (name: keyof typeof guest): Codec => ({
  encode: guest[name]?.requestSerialize as never,
  decode: guest[name]?.requestDeserialize as never,
});
const guestResponse = (name: keyof typeof guest): Codec => ({
  encode: guest[name]?.responseSerialize as never,
  decode: guest[name]?.responseDeserialize as never,
});

/** Bytes written by hand from the field numbers: tag = number * 8 + wire type, then the value. */
const CORPUS: readonly (readonly [name: string, codec: Codec, message: object, hex: string])[] = [
  [
    "Check answer",
    { encode: health.Check.responseSerialize as never, decode: health.Check.responseDeserialize },
    { status: "SERVING" },
    "08 01",
  ],
  [
    "Version answer",
    { encode: health.Version.responseSerialize as never, decode: health.Version.responseDeserialize },
    { grpc_version: "0.0.1", agent_version: "1.4" },
    "0a 05 302e302e31 12 03 312e34",
  ],
  [
    "CreateSandbox",
    request("CreateSandbox"),
    {
      hostname: "h",
      storages: [{ driver: "v", source: "s", fstype: "f", options: ["o"], mount_point: "/m" }],
      sandbox_id: "web",
    },
    "0a 01 68 1a 10 0a0176 1a0173 220166 2a016f 32022f6d 2a 03 776562",
  ],
  ["GetGuestDetails", request("GetGuestDetails"), { mem_block_size: true }, "08 01"],
  [
    "GetGuestDetails answer",
    response("GetGuestDetails"),
    { mem_block_size_bytes: "134217728", agent_details: { version: "1.4", storage_handlers: ["blk"], supports_seccomp: true } },
    "08 80808040 12 0c 0a03312e34 2203626c6b 2801",
  ],
  [
    "CreateContainer",
    request("CreateContainer"),
    {
      container_id: "c",
      exec_id: "c",
      storages: [{ driver: "v" }],
      OCI: {
        Version: "1",
        Process: { User: { UID: 1000, AdditionalGids: [1, 300] }, Args: ["sh"], Cwd: "/" },
        Root: { Path: "/r", Readonly: true },
        Linux: { Resources: { Memory: { Limit: "1099511627776" } } },
      },
    },
    `0a 01 63 12 01 63 2a 03 0a0176
     32 2b 0a0131 12 11 1a 08 08e807 1a0301ac02 22027368 32012f 1a 06 0a022f72 1001 42 0b 22 09 12 07 08808080808020`,
  ],
  [
    "CreateContainer with a device",
    request("CreateContainer"),
    {
      devices: [{ id: "10/05", type: "blk", vm_path: "/dev/v", container_path: "/dev/d", options: ["o"] }],
      OCI: { Linux: { Devices: [{ Path: "/dev/d", Type: "b", Major: "8", Minor: "-1", FileMode: 384, UID: 1, GID: 2 }] } },
    },
    `22 1f 0a0531302f3035 1203626c6b 1a062f6465762f76 22062f6465762f64 2a016f
     32 23 42 21 3a 1f 0a062f6465762f64 120162 1808 20ffffffffffffffffff01 288003 3001 3802`,
  ],
  [
    "UpdateContainer",
    request("UpdateContainer"),
    {
      container_id: "c",
      resources: {
        Memory: { Limit: "-1", Reservation: "1", Swap: "2" },
        CPU: { Shares: "3", Quota: "-1", Period: "4", Cpus: "0", Mems: "1" },
        Pids: { Limit: "5" },
        HugepageLimits: [{ Pagesize: "2MB", Limit: "18446744073709551615" }],
      },
    },
    `0a 01 63 12 3e 12 0f 08ffffffffffffffffff01 1001 1802 1a 15 0803 10ffffffffffffffffff01 1804 320130 3a0131
     22 02 0805 32 10 0a03324d42 10ffffffffffffffffff01`,
  ],
  ["StatsContainer", request("StatsContainer"), { container_id: "c" }, "0a 01 63"],
  [
    "StatsContainer answer",
    response("StatsContainer"),
    {
      cgroup_stats: {
        cpu_stats: {
          cpu_usage: { total_usage: "1", usage_in_kernelmode: "3", usage_in_usermode: "4" },
          throttling_data: { periods: "1", throttled_periods: "2", throttled_time: "3" },
        },
        memory_stats: {
          cache: "1",
          usage: { usage: "1", max_usage: "2", failcnt: "3", limit: "4" },
          swap_usage: { usage: "5" },
          kernel_usage: { usage: "6" },
          use_hierarchy: true,
          stats: { a: "1" },
        },
        pids_stats: { current: "1", limit: "2" },
        blkio_stats: {
          io_service_bytes_recursive: [{ major: "8", minor: "1", op: "R", value: "2" }],
          io_serviced_recursive: [{ value: "2" }],
          io_queued_recursive: [{ value: "3" }],
          io_service_time_recursive: [{ value: "4" }],
          io_wait_time_recursive: [{ value: "5" }],
          io_merged_recursive: [{ value: "6" }],
          io_time_recursive: [{ value: "7" }],
          sectors_recursive: [{ value: "8" }],
        },
        hugetlb_stats: { "2MB": { usage: "1", max_usage: "2", failcnt: "3" } },
      },
      network_stats: [
        {
          name: "e",
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
    `0a 6f
       0a 10 0a 06 0801 1803 2004 12 06 0801 1002 1803
       12 1d 0801 12 08 0801 1002 1803 2004 1a 02 0805 22 02 0806 2801 32 05 0a0161 1001
       1a 04 0801 1002
       22 27 0a 09 0808 1001 1a0152 2002 12 02 2002 1a 02 2003 22 02 2004 2a 02 2005 32 02 2006 3a 02 2007 42 02 2008
       2a 0d 0a03324d42 12 06 0801 1002 1803
     12 13 0a0165 1001 1802 2003 2804 3005 3806 4007 4808`,
  ],
  ["PauseContainer", request("PauseContainer"), { container_id: "c" }, "0a 01 63"],
  ["ResumeContainer", request("ResumeContainer"), { container_id: "c" }, "0a 01 63"],
  ["OnlineCPUMem", request("OnlineCPUMem"), { wait: true, nb_cpus: 2, cpu_only: true }, "08 01 10 02 18 01"],
  ["SyncResources", guestRequest("SyncResources"), { vcpus: 2 }, "08 02"],
  [
    "SyncResources answer",
    guestResponse("SyncResources"),
    { online_vcpus: 2, memory_bytes: "536870912", available_bytes: "4096" },
    "08 02 10 8080808002 18 8020",
  ],
  ["FindDisk", guestRequest("FindDisk"), { driver: "blk", address: "10/05" }, "0a 03 626c6b 12 05 31302f3035"],
  ["FindDisk answer", guestResponse("FindDisk"), { node: "/dev/sda", bytes: "512" }, "0a 08 2f6465762f736461 10 8004"],
  ["ReleaseDisk", guestRequest("ReleaseDisk"), { driver: "scsi", address: "0:3" }, "0a 04 73637369 12 03 303a33"],
  ["StartContainer", request("StartContainer"), { container_id: "c" }, "0a 01 63"],
  ["RemoveContainer", request("RemoveContainer"), { container_id: "c", timeout: 8 }, "0a 01 63 10 08"],
  ["SignalProcess", request("SignalProcess"), { container_id: "c", exec_id: "e", signal: 15 }, "0a 01 63 12 01 65 18 0f"],
  ["WaitProcess", request("WaitProcess"), { container_id: "c", exec_id: "e" }, "0a 01 63 12 01 65"],
  ["WaitProcess answer", response("WaitProcess"), { status: 137 }, "08 8901"],
  ["WaitProcess answer below zero", response("WaitProcess"), { status: -1 }, "08 ffffffffffffffffff01"],
  ["ReadStdout", request("ReadStdout"), { container_id: "c", exec_id: "e", len: 300 }, "0a 01 63 12 01 65 18 ac02"],
  ["ReadStderr answer", response("ReadStderr"), { data: Buffer.from([0, 255]) }, "0a 02 00ff"],
  ["WriteStdin", request("WriteStdin"), { container_id: "c", exec_id: "e", data: Buffer.from([1, 2]) }, "0a 01 63 12 01 65 1a 02 0102"],
  ["WriteStdin answer", response("WriteStdin"), { len: 2 }, "08 02"],
  ["ReseedRandomDev, whose field is number 2", request("ReseedRandomDev"), { data: Buffer.from([7]) }, "12 01 07"],
  [
    "UpdateInterface, of another package",
    request("UpdateInterface"),
    { interface: { IPAddresses: [{ family: "v6", address: "::1" }], mtu: "1500" } },
    "0a 0c 1a 07 0801 1203 3a3a31 20 dc0b",
  ],
];

const s = suite("kata wire");

for (const [name, { encode, decode }, message, hex] of CORPUS) {
  const bytes = Buffer.from(hex.replace(/\s/g, ""), "hex");
  s.test(`${name}: encodes to the bytes that the field numbers give`, () => {
    assert.is(encode(message as never).toString("hex"), bytes.toString("hex"));
  });
  s.test(`${name}: decodes from them`, () => {
    assert.ok(contains(decode(bytes), message), JSON.stringify(decode(bytes)));
  });
}

s.test("a decoded message has every field: zeros, empty lists, null for a message that was not sent", () => {
  assert.equal(agent.GetGuestDetails.responseDeserialize(Buffer.alloc(0)), {
    mem_block_size_bytes: "0",
    agent_details: null,
    support_mem_hotplug_probe: false,
  });
  assert.equal(agent.CreateContainer.requestDeserialize(Buffer.alloc(0)).storages, []);
});

s.test("numbers of each vCPU are read packed, as Go sends them, and one by one", () => {
  for (const percpu of ["12020102", "10011002"]) {
    const usage = `0a${hexLength(percpu)}${percpu}`;
    const stats = `0a${hexLength(usage)}${usage}`;
    const bytes = Buffer.from(`0a${hexLength(stats)}${stats}`, "hex");
    assert.equal(agent.StatsContainer.responseDeserialize(bytes).cgroup_stats?.cpu_stats?.cpu_usage?.percpu_usage, ["1", "2"]);
  }
});

s.test("fields of a later version are skipped", () => {
  const later = Buffer.from("0889011203616263f8ff010a", "hex"); // status, then a string and an integer under numbers that no version has
  assert.equal(agent.WaitProcess.responseDeserialize(later), { status: 137 });
});

s.test("64-bit integers are exact at both ends of their range", () => {
  for (const value of ["-9223372036854775808", "9223372036854775807"]) {
    const bytes = agent.UpdateContainer.requestSerialize({ resources: { Memory: { Limit: value } } } as never);
    assert.is(agent.UpdateContainer.requestDeserialize(bytes).resources?.Memory?.Limit, value);
  }
  const most = "18446744073709551615";
  const bytes = agent.GetGuestDetails.responseSerialize({ mem_block_size_bytes: most } as never);
  assert.is(agent.GetGuestDetails.responseDeserialize(bytes).mem_block_size_bytes, most);
});

s.test("an annotation named __proto__ stays an annotation", () => {
  const bytes = agent.CreateContainer.requestSerialize({ OCI: { Annotations: Object.fromEntries([["__proto__", "x"]]) } } as never);
  const annotations = agent.CreateContainer.requestDeserialize(bytes).OCI?.Annotations ?? {};
  assert.equal(Object.getOwnPropertyNames(annotations), ["__proto__"]);
  assert.is(({} as { x?: unknown }).x, undefined);
});

s.run();

function hexLength(hex: string): string {
  return (hex.length / 2).toString(16).padStart(2, "0");
}

/** Whether `actual` has all that `wanted` has. */
function contains(actual: unknown, wanted: unknown): boolean {
  if (wanted instanceof Uint8Array) return actual instanceof Uint8Array && Buffer.compare(actual, wanted) === 0;
  if (typeof wanted !== "object" || wanted === null) return actual === wanted;
  if (typeof actual !== "object" || actual === null) return false;
  return Object.entries(wanted).every(([key, value]) => contains((actual as Record<string, unknown>)[key], value));
}
