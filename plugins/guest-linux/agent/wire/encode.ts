import type { Field, MessageType, ScalarType } from "./schema.ts";

/** A plain object as a proto3 message; absent fields and zeros are not sent. 64-bit integers may be strings, numbers or bigints. */
export function encode(type: MessageType, message: Readonly<Record<string, unknown>>): Buffer {
  const parts: Uint8Array[] = [];
  for (const field of type.fields) {
    const content = message[field.name];
    if (content !== undefined && content !== null) encodeField(field, content, parts);
  }
  return Buffer.concat(parts);
}

function encodeField(field: Field, content: unknown, parts: Uint8Array[]): void {
  if (field.shape === "repeated") for (const item of content as readonly unknown[]) one(field.id, field.type, item, parts);
  else if (field.shape === "single") {
    if (!isZero(field, content)) one(field.id, field.type, content, parts);
  } else {
    for (const [key, item] of Object.entries(content as Readonly<Record<string, unknown>>)) {
      const entry: Uint8Array[] = [];
      one(1, "string", key, entry);
      one(2, field.type, item, entry);
      delimited(field.id, Buffer.concat(entry), parts);
    }
  }
}

function isZero({ type }: Field, content: unknown): boolean {
  if (typeof type !== "string") return type.kind === "enum" && enumNumber(type.numbers, content) === 0;
  if (type === "bytes") return (content as Uint8Array).length === 0;
  if (type === "string") return content === ""; // "0" is a text as any other
  return content === false || content === 0 || content === "0" || content === 0n;
}

function one(id: number, type: Field["type"], content: unknown, parts: Uint8Array[]): void {
  if (typeof type !== "string") {
    if (type.kind === "message") delimited(id, encode(type, content as Readonly<Record<string, unknown>>), parts);
    else number(id, BigInt(enumNumber(type.numbers, content)), parts);
  } else scalar(id, type, content, parts);
}

function scalar(id: number, type: ScalarType, content: unknown, parts: Uint8Array[]): void {
  if (type === "string") delimited(id, Buffer.from(content as string), parts);
  else if (type === "bytes") delimited(id, content as Uint8Array, parts);
  else if (type === "double") {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleLE(content as number);
    parts.push(varint(BigInt(id * 8 + 1)), bytes);
  } else if (type === "bool") number(id, content ? 1n : 0n, parts);
  else number(id, BigInt(content as string | number | bigint), parts);
}

function enumNumber(numbers: Readonly<Record<string, number>>, content: unknown): number {
  return typeof content === "number" ? content : (numbers[content as string] ?? 0);
}

function number(id: number, content: bigint, parts: Uint8Array[]): void {
  parts.push(varint(BigInt(id * 8)), varint(content));
}

function delimited(id: number, bytes: Uint8Array, parts: Uint8Array[]): void {
  parts.push(varint(BigInt(id * 8 + 2)), varint(BigInt(bytes.length)), bytes);
}

/** Negative numbers are ten bytes: the 64-bit two's complement, also for 32-bit fields. */
function varint(content: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, content);
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}
