import fc from "fast-check";
import { encode } from "../../../plugins/guest-linux/agent/wire/encode.ts";
import { type Field, type MessageType, messageType } from "../../../plugins/guest-linux/agent/wire/schema.ts";

/** Text with what could do harm in it, and lengths around the limits. */
const text = fc.oneof(
  { weight: 40, arbitrary: fc.string({ unit: "binary", maxLength: 40 }) },
  { weight: 20, arbitrary: fc.constantFrom("", "c", "s", "/dev/sda", "../..", "\u001b]0;x\u0007", "\u202e", "__proto__", "a\0b", "1:2") },
  { weight: 1, arbitrary: fc.constantFrom(129, 300, 300, 300, 5000).map((length) => "\u009b".repeat(length)) },
);

/** Any value of a message, as the codecs hold it; a few of its lists are long. */
export function anyMessage(name: string): fc.Arbitrary<Record<string, unknown>> {
  return recordOf(messageType(name));
}

/** Encodings of any value of a message. */
export function encoded(name: string): fc.Arbitrary<Buffer> {
  const type = messageType(name);
  return recordOf(type).map((message) => encode(type, message));
}

const made = new Map<MessageType, fc.Arbitrary<Record<string, unknown>>>();

function recordOf(type: MessageType): fc.Arbitrary<Record<string, unknown>> {
  const known = made.get(type);
  if (known) return known;
  const arbitrary = fc.record(Object.fromEntries(type.fields.map((field) => [field.name, fieldOf(field)])), { requiredKeys: [] });
  made.set(type, arbitrary);
  return arbitrary;
}

function fieldOf({ shape, type }: Field): fc.Arbitrary<unknown> {
  const one = anyOf(type);
  if (shape === "map") return fc.dictionary(text, one, { maxKeys: 3 });
  if (shape === "single") return one;
  const many = fc.tuple(one, fc.constantFrom(65, 300)).map(([each, count]) => Array<unknown>(count).fill(each));
  return fc.oneof({ weight: 12, arbitrary: fc.array(one, { maxLength: 3 }) }, { weight: 1, arbitrary: many });
}

function anyOf(type: Field["type"]): fc.Arbitrary<unknown> {
  if (typeof type !== "string") return type.kind === "enum" ? fc.constantFrom(...type.names.values()) : recordOf(type);
  switch (type) {
    case "bool":
      return fc.boolean();
    case "bytes":
      return fc.uint8Array({ maxLength: 60, size: "max" }).map((bytes) => Buffer.from(bytes));
    case "double":
      return fc.double();
    case "int32":
      return fc.oneof(fc.nat(300), fc.integer());
    case "uint32":
      return fc.oneof(fc.nat(300), fc.nat(2 ** 32 - 1));
    case "string":
      return text;
    case "int64":
      return long(-(2n ** 63n), 2n ** 63n - 1n);
    case "uint64":
      return long(0n, 2n ** 64n - 1n);
  }
}

/** Mostly numbers that are exact, else no message of many would get past the first one. */
function long(min: bigint, max: bigint): fc.Arbitrary<string> {
  const exact = fc.oneof(fc.bigInt({ min: 0n, max: 1000n }), fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }));
  return fc.oneof({ weight: 300, arbitrary: exact }, { weight: 1, arbitrary: fc.bigInt({ min, max }) }).map(String);
}
