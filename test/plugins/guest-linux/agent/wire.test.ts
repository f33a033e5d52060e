import fc from "fast-check";
import { agentServiceDefinition, guestServiceDefinition, healthServiceDefinition } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { decode } from "../../../../plugins/guest-linux/agent/wire/decode.ts";
import { encode } from "../../../../plugins/guest-linux/agent/wire/encode.ts";
import { type Field, type MessageType, messageType, methodsOf } from "../../../../plugins/guest-linux/agent/wire/schema.ts";
import { serviceDefinition } from "../../../../plugins/guest-linux/agent/wire/service.ts";
import { suite } from "../../../support/suite.ts";

const s = suite("guest agent: wire");

const SERVICES = [
  ["grpc.AgentService", agentServiceDefinition],
  ["grpc.Health", healthServiceDefinition],
  ["tapvisor.Guest", guestServiceDefinition],
] as const;

/** Any value of a message, as grpc-js code holds it. */
function messageOf(type: MessageType): fc.Arbitrary<Record<string, unknown>> {
  return fc.record(Object.fromEntries(type.fields.map((field) => [field.name, fieldOf(field)])), { requiredKeys: [] });
}

function fieldOf({ shape, type }: Field): fc.Arbitrary<unknown> {
  if (shape === "repeated") return fc.array(scalarOf(type), { maxLength: 3 });
  return shape === "map" ? fc.dictionary(fc.string(), scalarOf(type), { maxKeys: 3 }) : scalarOf(type);
}

function scalarOf(type: Field["type"]): fc.Arbitrary<unknown> {
  if (typeof type !== "string") return type.kind === "enum" ? fc.constantFrom(...type.names.values()) : messageOf(type);
  const bounds = { int64: [-(2n ** 63n), 2n ** 63n - 1n], uint64: [0n, 2n ** 64n - 1n] } as const;
  switch (type) {
    case "bool":
      return fc.boolean();
    case "bytes":
      return fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
    case "double":
      return fc.double({ noNaN: true });
    case "int32":
      return fc.integer();
    case "uint32":
      return fc.nat({ max: 2 ** 32 - 1 });
    case "string":
      return fc.string({ unit: "binary", maxLength: 200 });
    default:
      return fc.bigInt({ min: bounds[type][0], max: bounds[type][1] }).map(String);
  }
}

s.test("every call has the path that the protocol's own definitions give it", () => {
  for (const [name, theirs] of SERVICES) {
    const ours = serviceDefinition(name);
    assert.equal(Object.keys(ours).sort(), Object.keys(theirs).sort());
    for (const [method, definition] of Object.entries(ours)) assert.is(definition.path, (theirs as typeof ours)[method]?.path);
  }
});

s.test(
  "requests are read and answers are written as the protocol's own definitions do it",
  () => {
    for (const [name, theirs] of SERVICES) {
      const ours = serviceDefinition(name);
      for (const [method, { request, response }] of Object.entries(methodsOf(name))) {
        const [mine, other] = [ours[method], (theirs as typeof ours)[method]];
        assert.ok(mine && other, method);
        fc.assert(
          fc.property(messageOf(messageType(request)), messageOf(messageType(response)), (asked, answered) => {
            const bytes = other.requestSerialize(asked);
            assert.equal(plain(mine.requestDeserialize(bytes)), plain(other.requestDeserialize(bytes)), method);
            assert.equal(
              plain(other.responseDeserialize(mine.responseSerialize(answered))),
              plain(other.responseDeserialize(other.responseSerialize(answered))),
              method,
            );
          }),
          { numRuns: 15 },
        );
      }
    }
  },
  { timeoutMs: 120_000 },
);

s.test("unknown fields are skipped, whatever their wire type", () => {
  const known = encode(messageType("grpc.StartContainerRequest"), { container_id: "c" });
  const unknown = Buffer.from("f80101f9010102030405060708fa0103616263fd0101020304", "hex");
  assert.equal(decode(messageType("grpc.StartContainerRequest"), Buffer.concat([unknown, known, unknown])), { container_id: "c" });
});

s.test("bytes that are no message are refused, never misread past their end", () => {
  const type = messageType("grpc.CreateContainerRequest");
  for (const bytes of ["0a", "0a05ab", "0aff", "0b", "0affffffffffffffffff01", "ffffffffffffffffffffff01", "08"]) {
    assert.throws(() => decode(type, Buffer.from(bytes, "hex")), undefined, bytes);
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        decode(type, Buffer.from(bytes));
      } catch (error) {
        assert.instance(error, Error);
      }
    }),
    { numRuns: 500 },
  );
});

s.test("a map key from the wire cannot reach a prototype", () => {
  const type = messageType("grpc.Spec");
  const { Annotations } = decode(type, encode(type, { Annotations: JSON.parse('{"__proto__":"x"}') })) as { Annotations: object };
  assert.equal(Object.entries(Annotations), [["__proto__", "x"]]);
  assert.is(Object.getPrototypeOf(Annotations), Object.prototype);
});

/** Without the difference between a Buffer and other bytes, or between an object's kinds. */
function plain(message: unknown): unknown {
  return JSON.parse(
    JSON.stringify(message, (_, value) => (value?.type === "Buffer" ? { bytes: Buffer.from(value.data).toString("hex") } : value)),
  );
}

s.run();
