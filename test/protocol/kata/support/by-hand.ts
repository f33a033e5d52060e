/** The wire format by its rules alone, for messages written out field by field: nothing here knows a descriptor. */

/** Tag: number * 8 + kind, 0 for a number, 2 for bytes with their length. */
export function number(id: number, value: bigint | number | boolean): Buffer {
  return Buffer.concat([varint(BigInt(id) * 8n), varint(BigInt(value))]);
}

export function bytes(id: number, content: Uint8Array): Buffer {
  return Buffer.concat([varint(BigInt(id) * 8n + 2n), varint(BigInt(content.length)), content]);
}

export function text(id: number, content: string): Buffer {
  return bytes(id, Buffer.from(content, "utf8"));
}

export function message(id: number, ...fields: readonly Buffer[]): Buffer {
  return bytes(id, Buffer.concat(fields));
}

/** Numbers of a repeated field lie side by side under one tag. */
export function packed(id: number, ...values: readonly (bigint | number)[]): Buffer {
  return bytes(id, Buffer.concat(values.map((value) => varint(BigInt(value)))));
}

/** An entry of a map is a message: 1 is its key, 2 its value. */
export function entry(id: number, key: string, value: Buffer): Buffer {
  return message(id, text(1, key), value);
}

/** Seven bits a byte, the lowest first; a negative number is its 64-bit two's complement. */
function varint(value: bigint): Buffer {
  const parts: number[] = [];
  let rest = BigInt.asUintN(64, value);
  do {
    const low = Number(rest % 128n);
    rest /= 128n;
    parts.push(rest > 0n ? low + 128 : low);
  } while (rest > 0n);
  return Buffer.from(parts);
}
