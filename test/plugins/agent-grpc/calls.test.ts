import { status } from "@grpc/grpc-js";
import * as assert from "uvu/assert";
import type { AgentClient } from "../../../src/contracts/agent.ts";
import type { Call } from "../../../src/contracts/holding.ts";
import type { OciSpec } from "../../../src/contracts/oci.ts";
import { ociFromWire, type WireSpec } from "../../../src/protocol/kata/index.ts";
import { quietCall } from "../../../src/testing/quiet-call.ts";
import { suite } from "../../support/suite.ts";
import { failure } from "./expect.ts";
import { connected, grpcGuest } from "./fake-guest.ts";
import { answerWith, rawGuest } from "./raw-guest.ts";

const SPEC: OciSpec = {
  ociVersion: "1.1.0",
  root: { path: "/r", readonly: true },
  process: { terminal: false, user: { uid: 0, gid: 0 }, args: ["sh"], env: ["A=b"], cwd: "/", noNewPrivileges: true },
  mounts: [],
  linux: { namespaces: [{ type: "pid" }, { type: "mount" }], maskedPaths: [], readonlyPaths: [] },
};
const STORAGE = { driver: "virtio-fs", source: "tag", fstype: "virtiofs", options: ["ro"], mountPoint: "/run/s" };
const STORAGE_MESSAGE = {
  driver: "virtio-fs",
  driver_options: [],
  source: "tag",
  fstype: "virtiofs",
  options: ["ro"],
  mount_point: "/run/s",
};
const INIT = { container: "c", exec: "c" };
const EXEC = { container: "c", exec: "e" };

interface Mapping {
  readonly verb: string;
  readonly run: (client: AgentClient, call: Call) => Promise<unknown>;
  readonly method: string;
  readonly request: object;
  readonly answer?: object;
  readonly result?: unknown;
}

const MAPPINGS: readonly Mapping[] = [
  {
    verb: "createSandbox",
    run: (client, call) => client.createSandbox({ hostname: "h", sandbox: "web", storages: [STORAGE] }, call),
    method: "CreateSandbox",
    request: {
      hostname: "h",
      dns: [],
      storages: [STORAGE_MESSAGE],
      sandbox_pidns: false,
      sandbox_id: "web",
      guest_hook_path: "",
      kernel_modules: [],
    },
  },
  { verb: "destroySandbox", run: (client, call) => client.destroySandbox(call), method: "DestroySandbox", request: {} },
  {
    verb: "guestDetails",
    run: (client, call) => client.guestDetails(call),
    method: "GetGuestDetails",
    request: { mem_block_size: true, mem_hotplug_probe: false },
    answer: {
      mem_block_size_bytes: "134217728",
      agent_details: { version: "1.4.0", storage_handlers: ["blk", "9p"], supports_seccomp: true, extra_features: ["tapvisor.oci"] },
    },
    result: {
      memoryBlockBytes: 134_217_728,
      agentVersion: "1.4.0",
      storageHandlers: ["blk", "9p"],
      supportsSeccomp: true,
      ociExtensions: true,
    },
  },
  {
    verb: "startContainer",
    run: (client, call) => client.startContainer("c", call),
    method: "StartContainer",
    request: { container_id: "c" },
  },
  {
    verb: "removeContainer",
    run: (client, call) => client.removeContainer("c", call),
    method: "RemoveContainer",
    request: { container_id: "c", timeout: 8 },
  },
  {
    verb: "waitProcess",
    run: (client, call) => client.waitProcess(EXEC, call),
    method: "WaitProcess",
    request: { container_id: "c", exec_id: "e" },
    answer: { status: 137 },
    result: 137,
  },
  {
    verb: "signalProcess for one process",
    run: (client, call) => client.signalProcess(INIT, 15, false, call),
    method: "SignalProcess",
    request: { container_id: "c", exec_id: "c", signal: 15 },
  },
  {
    verb: "signalProcess for all processes",
    run: (client, call) => client.signalProcess(INIT, 9, true, call),
    method: "SignalProcess",
    request: { container_id: "c", exec_id: "", signal: 9 },
  },
  {
    verb: "readStdout",
    run: (client, call) => client.readStdout(INIT, 4096, call),
    method: "ReadStdout",
    request: { container_id: "c", exec_id: "c", len: 4096 },
    answer: { data: Buffer.from("out") },
    result: Buffer.from("out"),
  },
  {
    verb: "readStderr, which asks for 1 MiB at most",
    run: (client, call) => client.readStderr(INIT, 2 ** 30, call),
    method: "ReadStderr",
    request: { container_id: "c", exec_id: "c", len: 2 ** 20 },
    answer: { data: Buffer.alloc(0) },
    result: Buffer.alloc(0),
  },
  {
    verb: "writeStdin",
    run: (client, call) => client.writeStdin(INIT, Buffer.from("input"), call),
    method: "WriteStdin",
    request: { container_id: "c", exec_id: "c", data: Buffer.from("input") },
    answer: { len: 3 },
    result: 3,
  },
  {
    verb: "closeStdin",
    run: (client, call) => client.closeStdin(EXEC, call),
    method: "CloseStdin",
    request: { container_id: "c", exec_id: "e" },
  },
  {
    verb: "pauseContainer",
    run: (client, call) => client.pauseContainer("c", call),
    method: "PauseContainer",
    request: { container_id: "c" },
  },
  {
    verb: "resumeContainer",
    run: (client, call) => client.resumeContainer("c", call),
    method: "ResumeContainer",
    request: { container_id: "c" },
  },
  {
    verb: "updateContainer",
    run: (client, call) =>
      client.updateContainer(
        "c",
        {
          memory: { limit: 2 ** 40, reservation: 5, swap: -1 },
          cpu: { shares: 2, quota: -1, period: 1000, cpus: "0-1", mems: "0" },
          pids: { limit: 9 },
          hugepageLimits: [{ pageSize: "2MB", limit: -1 }],
        },
        call,
      ),
    method: "UpdateContainer",
    request: {
      container_id: "c",
      resources: {
        Devices: [],
        Memory: {
          Limit: "1099511627776",
          Reservation: "5",
          Swap: "-1",
          Kernel: "0",
          KernelTCP: "0",
          Swappiness: "0",
          DisableOOMKiller: false,
        },
        CPU: { Shares: "2", Quota: "-1", Period: "1000", RealtimeRuntime: "0", RealtimePeriod: "0", Cpus: "0-1", Mems: "0" },
        Pids: { Limit: "9" },
        BlockIO: null,
        HugepageLimits: [{ Pagesize: "2MB", Limit: "18446744073709551615" }],
        Network: null,
      },
    },
  },
  {
    verb: "updateContainer of nothing, which is a message all the same,",
    run: (client, call) => client.updateContainer("c", {}, call),
    method: "UpdateContainer",
    request: {
      container_id: "c",
      resources: { Devices: [], Memory: null, CPU: null, Pids: null, BlockIO: null, HugepageLimits: [], Network: null },
    },
  },
  {
    verb: "onlineCpuMem, which waits for the end of it,",
    run: (client, call) => client.onlineCpuMem({ vcpus: 2, cpuOnly: true }, call),
    method: "OnlineCPUMem",
    request: { wait: true, nb_cpus: 2, cpu_only: true },
  },
  {
    verb: "syncResources",
    run: (client, call) => client.syncResources({ vcpus: 2 }, call),
    method: "SyncResources",
    request: { vcpus: 2 },
    answer: { online_vcpus: 2, memory_bytes: "536870912", available_bytes: "4096" },
    result: { onlineVcpus: 2, memoryBytes: 536_870_912, availableBytes: 4096 },
  },
  {
    verb: "syncResources without a number",
    run: (client, call) => client.syncResources({}, call),
    method: "SyncResources",
    request: { vcpus: 0 },
    answer: { online_vcpus: 1, memory_bytes: "1", available_bytes: "0" },
    result: { onlineVcpus: 1, memoryBytes: 1, availableBytes: 0 },
  },
  {
    verb: "findDisk",
    run: (client, call) => client.findDisk({ driver: "blk", address: "10/05" }, call),
    method: "FindDisk",
    request: { driver: "blk", address: "10/05" },
    answer: { node: "/dev/vdb", bytes: "1099511627776" },
    result: { node: "/dev/vdb", bytes: 2 ** 40 },
  },
  {
    verb: "releaseDisk",
    run: (client, call) => client.releaseDisk({ driver: "scsi", address: "0:3" }, call),
    method: "ReleaseDisk",
    request: { driver: "scsi", address: "0:3" },
  },
];

const s = suite("agent-grpc calls");

for (const { verb, run, method, request, answer, result } of MAPPINGS) {
  s.test(`${verb} sends ${method} and reads its answer`, async () => {
    await using guest = await grpcGuest(answer ? { [method]: (_, reply) => reply(null, answer) } : {});
    await using client = await connected(guest);
    assert.equal(await run(client, quietCall()), result);
    assert.equal(guest.received.at(-1), { method, request });
  });
}

s.test("createContainer sends the configuration, without the PID namespace that the agent itself adds", async () => {
  await using guest = await grpcGuest();
  await using client = await connected(guest);
  await client.createContainer({ container: "c", storages: [STORAGE], spec: SPEC }, quietCall());
  const { method, request } = guest.received.at(-1) as { method: string; request: Record<string, never> };
  assert.is(method, "CreateContainer");
  assert.is(request.container_id, "c");
  assert.is(request.exec_id, "c");
  assert.equal(request.storages, [STORAGE_MESSAGE]);
  const oci = request.OCI as unknown as { Process: { Args: string[] }; Linux: { Namespaces: unknown } };
  assert.equal(oci.Process.Args, ["sh"]);
  assert.equal(oci.Linux.Namespaces, [{ Type: "mount", Path: "" }]);
});

s.test("createContainer sends each device, a node of it, and a rule that allows it, by numbers that stand for its own", async () => {
  await using guest = await grpcGuest();
  await using client = await connected(guest);
  const deny = { allow: false, access: "rwm" };
  const spec = { ...SPEC, linux: { ...SPEC.linux, resources: { pids: { limit: 5 }, devices: [deny] } } };
  const devices = [
    { disk: { driver: "blk", address: "10/05" }, containerPath: "/dev/one", permissions: "r" },
    { disk: { driver: "scsi", address: "0:3" }, containerPath: "/dev/two", permissions: "rwm" },
  ] as const;
  await client.createContainer({ container: "c", storages: [], devices, spec }, quietCall());
  const { request } = guest.received.at(-1) as { request: Record<string, never> };
  assert.equal(request.devices, [
    { id: "10/05", type: "blk", vm_path: "", container_path: "/dev/one", options: [] },
    { id: "0:3", type: "scsi", vm_path: "", container_path: "/dev/two", options: [] },
  ]);
  const { linux } = ociFromWire(request.OCI as unknown as WireSpec);
  assert.equal(linux.devices, [
    { path: "/dev/one", type: "b", major: 0, minor: 1 },
    { path: "/dev/two", type: "b", major: 0, minor: 2 },
  ]);
  assert.equal(linux.resources, {
    pids: { limit: 5 },
    devices: [
      deny,
      { allow: true, access: "r", type: "b", major: 0, minor: 1 },
      { allow: true, access: "rwm", type: "b", major: 0, minor: 2 },
    ],
  });
});

s.test("an update of device rules is refused without a call: no agent makes it", async () => {
  await using guest = await grpcGuest();
  await using client = await connected(guest);
  await failure("UNSUPPORTED", client.updateContainer("c", { devices: [{ allow: true, access: "r" }] }, quietCall()));
  assert.not(guest.received.some(({ method }) => method === "UpdateContainer"));
});

s.test("a guest cannot be told to run on 0 vCPUs: on the wire that would leave them as they are", async () => {
  await using guest = await grpcGuest();
  await using client = await connected(guest);
  await failure("AGENT_FAILED", client.syncResources({ vcpus: 0 }, quietCall()));
  assert.not(guest.received.some(({ method }) => method === "SyncResources"));
});

s.test("a Kata guest has not the second service: it is asked once a connection, and what is to be let go of is", async () => {
  const disk = { driver: "scsi", address: "0:3" } as const;
  for (const asked of ["/tapvisor.Guest/ReleaseDisk", "/tapvisor.Guest/FindDisk"]) {
    const paths: string[] = [];
    await using guest = await rawGuest((stream, headers) => {
      paths.push(headers[":path"] ?? "");
      answerWith(stream, [], { trailers: { "grpc-status": "12", "grpc-message": "unknown service tapvisor.Guest" } });
    });
    await using client = await connected(guest);
    if (asked.endsWith("ReleaseDisk")) await client.releaseDisk(disk, quietCall());
    assert.is(await client.findDisk(disk, quietCall()), undefined);
    assert.is(await client.syncResources({ vcpus: 2 }, quietCall()), undefined);
    assert.is(await client.syncResources({}, quietCall()), undefined);
    await client.releaseDisk(disk, quietCall());
    assert.equal(paths, [asked]);
  }
});

s.test("a server without the second service answers its other calls as before", async () => {
  await using guest = await grpcGuest({}, { kata: true });
  await using client = await connected(guest);
  assert.is(await client.findDisk({ driver: "blk", address: "10/05" }, quietCall()), undefined);
  await client.onlineCpuMem({ vcpus: 1, cpuOnly: false }, quietCall());
  await client.pauseContainer("c", quietCall());
});

s.test("another failure of the second service is a failure, and it is asked again", async () => {
  let answers = 0;
  await using guest = await grpcGuest({
    ReleaseDisk: (_, answer) => (answers++ === 0 ? answer({ code: status.FAILED_PRECONDITION, details: "in use" }) : answer(null, {})),
  });
  await using client = await connected(guest);
  const disk = { driver: "scsi", address: "0:3" } as const;
  const error = await failure("AGENT_FAILED", client.releaseDisk(disk, quietCall()));
  assert.equal(error.data, { method: "ReleaseDisk", status: "FAILED_PRECONDITION" });
  assert.match(error.message, 'disk "0:3"');
  await client.releaseDisk(disk, quietCall());
  assert.is(answers, 2);
});

s.test("connecting takes one Check and one Version, then a container's first output five calls more", async () => {
  await using guest = await grpcGuest({ ReadStdout: (_, answer) => answer(null, { data: Buffer.from("hello") }) });
  await using client = await connected(guest);
  await client.createSandbox({ hostname: "h", sandbox: "web", storages: [] }, quietCall());
  await client.guestDetails(quietCall());
  await client.createContainer({ container: "c", storages: [], spec: SPEC }, quietCall());
  await client.startContainer("c", quietCall());
  await client.readStdout(INIT, 4096, quietCall());
  assert.equal(
    guest.received.map(({ method }) => method),
    ["Check", "Version", "CreateSandbox", "GetGuestDetails", "CreateContainer", "StartContainer", "ReadStdout"],
  );
});

s.test("a full read of 1 MiB comes through whole", async () => {
  const data = Buffer.alloc(2 ** 20, "x");
  await using guest = await grpcGuest({ ReadStdout: (_, answer) => answer(null, { data }) });
  await using client = await connected(guest);
  assert.is(Buffer.compare(await client.readStdout(INIT, 2 ** 20, quietCall()), data), 0);
});

s.test("writing nothing makes no call", async () => {
  await using guest = await grpcGuest();
  await using client = await connected(guest);
  assert.is(await client.writeStdin(INIT, new Uint8Array(0), quietCall()), 0);
  assert.not(guest.received.some(({ method }) => method === "WriteStdin"));
});

s.test("calls run side by side: a read that waits holds up no other", async () => {
  let release: () => void = () => {};
  await using guest = await grpcGuest({
    ReadStdout: (_, answer) => {
      release = () => answer(null, { data: Buffer.from("late") });
    },
  });
  await using client = await connected(guest);
  const read = client.readStdout(INIT, 10, quietCall());
  await client.startContainer("c", quietCall());
  release();
  assert.is(Buffer.from(await read).toString(), "late");
});

s.test("details of an agent that gives none are empty, the version that of Version", async () => {
  await using guest = await grpcGuest({ Version: (_, answer) => answer(null, { agent_version: "1.0.0" }) });
  await using client = await connected(guest);
  assert.equal(await client.guestDetails(quietCall()), {
    memoryBlockBytes: 0,
    agentVersion: "1.0.0",
    storageHandlers: [],
    supportsSeccomp: false,
    ociExtensions: false,
  });
});

s.run();
