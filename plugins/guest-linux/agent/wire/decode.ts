import type { EnumType, Field, MessageType, ScalarType } from "./schema.ts";

type Message = Record<string, unknown>;

/** Where a decoder stands in its bytes. */
interface Cursor {
  readonly bytes: Buffer;
  at: number;
  readonly end: number;
}

/**
 * A proto3 message as a plain object. Every field is present: `null` for a message that was not sent, 64-bit integers as decimal strings,
 * enums as their names, `bytes` as views of the input.
 *
 * @throws Error when the bytes are no such message.
 */
export function decode(type: MessageType, bytes: Buffer): Message {
  return decodeAt(type, { bytes, at: 0, end: bytes.length });
}

function decodeAt(type: MessageType, cursor: Cursor): Message {
  const message = empty(type);
  while (cursor.at < cursor.end) {
    const tag = Number(varint(cursor));
    const field = type.byId.get(Math.floor(tag / 8));
    const wire = tag % 8;
    if (!field) skip(cursor, wire);
    else if (field.shape === "single") message[field.name] = value(field.type, cursor, wire);
    else if (field.shape === "map") entry(field, cursor, wire, message[field.name] as Message);
    else repeated(field, cursor, wire, message[field.name] as unknown[]);
  }
  return message;
}

function empty(type: MessageType): Message {
  return Object.fromEntries(type.fields.map((field) => [field.name, emptyField(field)]));
}

function emptyField({ shape, type }: Field): unknown {
  if (shape === "repeated") return [];
  return shape === "map" ? {} : zero(type);
}

function zero(type: Field["type"]): unknown {
  if (typeof type !== "string") return type.kind === "enum" ? (type.names.get(0) ?? 0) : null;
  switch (type) {
    case "bool":
      return false;
    case "bytes":
      return Buffer.alloc(0);
    case "string":
      return "";
    case "int64":
    case "uint64":
      return "0";
    default:
      return 0;
  }
}

function repeated(field: Field, cursor: Cursor, wire: number, list: unknown[]): void {
  const packable = typeof field.type === "string" ? field.type !== "string" && field.type !== "bytes" : field.type.kind === "enum";
  if (wire !== 2 || !packable) {
    list.push(value(field.type, cursor, wire));
    return;
  }
  const packed = slice(cursor);
  while (packed.at < packed.end) list.push(value(field.type, packed, field.type === "double" ? 1 : 0));
}

/** An entry is a message of its own: 1 is the key, a string in this protocol, 2 the value. */
function entry(field: Field, cursor: Cursor, wire: number, map: Message): void {
  if (wire !== 2) throw new Error(`a map entry of wire type ${wire}`);
  const part = slice(cursor);
  let key = "";
  let content: unknown;
  while (part.at < part.end) {
    const tag = Number(varint(part));
    if (tag === 10) key = value("string", part, 2) as string;
    else if (Math.floor(tag / 8) === 2) content = value(field.type, part, tag % 8);
    else skip(part, tag % 8);
  }
  // Not an assignment: "__proto__" from the wire must become a plain key.
  Object.defineProperty(map, key, { value: content ?? zero(field.type), enumerable: true, writable: true, configurable: true });
}

function value(type: ScalarType | EnumType | MessageType, cursor: Cursor, wire: number): unknown {
  const wanted =
    type === "string" || type === "bytes" || (typeof type !== "string" && type.kind === "message") ? 2 : type === "double" ? 1 : 0;
  if (wire !== wanted) throw new Error(`wire type ${wire}, wanted ${wanted}`);
  if (typeof type !== "string") {
    if (type.kind === "message") return decodeAt(type, slice(cursor));
    const number = Number(BigInt.asIntN(32, varint(cursor)));
    return type.names.get(number) ?? number;
  }
  switch (type) {
    case "string": {
      const { at, end } = slice(cursor);
      return cursor.bytes.toString("utf8", at, end);
    }
    case "bytes": {
      const { at, end } = slice(cursor);
      return cursor.bytes.subarray(at, end);
    }
    case "double":
      return cursor.bytes.readDoubleLE(advance(cursor, 8));
    case "bool":
      return varint(cursor) !== 0n;
    case "int32":
      return Number(BigInt.asIntN(32, varint(cursor)));
    case "uint32":
      return Number(BigInt.asUintN(32, varint(cursor)));
    case "int64":
      return BigInt.asIntN(64, varint(cursor)).toString();
    case "uint64":
      return varint(cursor).toString();
  }
}

function varint(cursor: Cursor): bigint {
  let low = 0;
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = next(cursor);
    low += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return BigInt(low);
  }
  let all = BigInt(low);
  for (let shift = 28n; shift < 70n; shift += 7n) {
    const byte = next(cursor);
    all |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return BigInt.asUintN(64, all);
  }
  throw new Error("a number of more than ten bytes");
}

function next(cursor: Cursor): number {
  return cursor.bytes[advance(cursor, 1)] ?? 0;
}

function slice(cursor: Cursor): Cursor {
  const length = Number(varint(cursor));
  const at = advance(cursor, length);
  return { bytes: cursor.bytes, at, end: at + length };
}

/** Moves past `length` bytes and answers where they start. */
function advance(cursor: Cursor, length: number): number {
  const { at } = cursor;
  if (length > cursor.end - at) throw new Error("the message ends too early");
  cursor.at += length;
  return at;
}

function skip(cursor: Cursor, wire: number): void {
  if (wire === 0) varint(cursor);
  else if (wire === 1) advance(cursor, 8);
  else if (wire === 2) slice(cursor);
  else if (wire === 5) advance(cursor, 4);
  else throw new Error(`an unknown wire type ${wire}`);
}
