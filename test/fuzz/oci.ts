import fc from "fast-check";
import { isTapvisorError, type OciSpec } from "tapvisor/plugin";
import { agentServiceDefinition, ociFromWire, ociToWire, resourcesFromWire, resourcesToWire, type WireSpec } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { decode } from "../../plugins/guest-linux/agent/wire/decode.ts";
import { messageType } from "../../plugins/guest-linux/agent/wire/schema.ts";
import { mutated } from "./support/bytes.ts";
import { encoded } from "./support/messages.ts";
import type { Property } from "./support/property.ts";

const SPEC = messageType("grpc.Spec");
const RESOURCES = messageType("grpc.LinuxResources");

/** Most configurations of any kind lack a part that none may lack. */
const whole = fc
  .tuple(encoded("grpc.Spec"), encoded("grpc.Process"), encoded("grpc.Root"), encoded("grpc.Linux"))
  .map(([spec, process, root, linux]) => {
    const part = (name: string, bytes: Buffer) => {
      const id = SPEC.fields.find((field) => field.name === name)?.id ?? 0;
      return Buffer.concat([varint(id * 8 + 2), varint(bytes.length), bytes]);
    };
    return Buffer.concat([spec, part("Process", process), part("Root", root), part("Linux", linux)]);
  });
const bytes = fc.oneof(whole, mutated(whole), mutated(encoded("grpc.Spec")));

function varint(value: number): Buffer {
  const out: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return Buffer.from([...out, left]);
    out.push((left % 128) + 128);
  }
}

/** A message that the agent has read; undefined when the bytes are none. */
function read<Message>(type: typeof SPEC, from: Buffer): Message | undefined {
  try {
    return decode(type, from) as Message;
  } catch (error) {
    assert.instance(error, Error);
    assert.not.instance(error, RangeError);
    return undefined;
  }
}

function refused(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (error instanceof assert.Assertion) throw error;
    assert.ok(isTapvisorError(error) && error.code === "INVALID_INPUT", String(error));
    assert.ok(error.data.path !== "" && error.message.length < 40_000);
  }
}

function assertExact(value: unknown, path: string): void {
  if (typeof value === "number") assert.ok(Number.isSafeInteger(value), `${path} is ${value}`);
  else if (typeof value === "object" && value !== null)
    for (const [key, each] of Object.entries(value)) assertExact(each, `${path}.${key}`);
}

const { requestSerialize, requestDeserialize } = agentServiceDefinition.CreateContainer;

/** What a client sends of a configuration, and an agent reads of it. */
function overTheWire(spec: OciSpec): OciSpec {
  const request = { container_id: "c", exec_id: "c", devices: [], storages: [], OCI: ociToWire(spec), sandbox_pidns: false };
  return ociFromWire(requestDeserialize(requestSerialize(request)).OCI as WireSpec);
}

export const oci: readonly Property[] = [
  {
    name: "oci: any bytes are a configuration with exact numbers, which survives being sent again, or INVALID_INPUT with the field's path",
    runs: 1500,
    make: () =>
      fc.property(bytes, (from) => {
        const wire = read<WireSpec>(SPEC, from);
        if (!wire) return;
        refused(() => {
          const spec = ociFromWire(wire);
          assertExact(spec, "spec");
          const again = overTheWire(spec);
          assert.equal(overTheWire(again), again);
        });
      }),
  },
  {
    name: "oci: any bytes are limits with exact numbers or INVALID_INPUT with the field's path",
    runs: 1500,
    make: () =>
      fc.property(mutated(encoded("grpc.LinuxResources")), (from) => {
        const wire = read<Parameters<typeof resourcesFromWire>[0]>(RESOURCES, from);
        if (!wire) return;
        refused(() => {
          const limits = resourcesFromWire(wire, "resources");
          assertExact(limits, "resources");
          assertExact(resourcesFromWire(resourcesToWire(limits, "resources"), "resources"), "resources");
        });
      }),
  },
];
