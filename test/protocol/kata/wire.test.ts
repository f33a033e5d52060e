import * as assert from "uvu/assert";
import { agentServiceDefinition as agent, healthServiceDefinition as health } from "../../../src/protocol/kata/index.ts";
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

s.test("fields of a later version are skipped", () => {
  const later = Buffer.from("0889011203616263f8ff010a", "hex"); // status, then a string and an integer under numbers that no version has
  assert.equal(agent.WaitProcess.responseDeserialize(later), { status: 137 });
});

s.test("64-bit integers are exact at both ends of their range", () => {
  for (const value of ["-9223372036854775808", "9223372036854775807"]) {
    const bytes = agent.UpdateContainer?.requestSerialize({ resources: { Memory: { Limit: value } } });
    assert.is(agent.UpdateContainer?.requestDeserialize(bytes as Buffer).resources.Memory.Limit, value);
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

/** Whether `actual` has all that `wanted` has. */
function contains(actual: unknown, wanted: unknown): boolean {
  if (wanted instanceof Uint8Array) return actual instanceof Uint8Array && Buffer.compare(actual, wanted) === 0;
  if (typeof wanted !== "object" || wanted === null) return actual === wanted;
  if (typeof actual !== "object" || actual === null) return false;
  return Object.entries(wanted).every(([key, value]) => contains((actual as Record<string, unknown>)[key], value));
}
