/** Frames as a guest writes them, true or false. */

export const H2 = { data: 0, headers: 1, rst: 3, settings: 4, push: 5, ping: 6, goAway: 7, window: 8, continuation: 9 } as const;
export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;

/** An HTTP/2 frame; `length` may be a lie. */
export function h2Frame(type: number, flags: number, id: number, payload: Uint8Array = Buffer.alloc(0), length = payload.length): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(id, 5);
  return Buffer.concat([header, payload]);
}

/** A field that HPACK's tables do not have, not compressed. */
export function field(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.of(0), text(name), text(value)]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  if (bytes.length < 127) return Buffer.concat([Buffer.of(bytes.length), bytes]);
  const rest = bytes.length - 127;
  return Buffer.concat([Buffer.of(127, (rest % 128) + 128, (Math.floor(rest / 128) % 128) | 128, Math.floor(rest / 16_384)), bytes]);
}

export const RESPONSE = Buffer.concat([Buffer.of(0x88), field("content-type", "application/grpc+proto")]);

export const responseHeaders = (id: number) => h2Frame(H2.headers, END_HEADERS, id, RESPONSE);

/** A message with gRPC's prefix, whose length may be a lie. */
export function grpcMessage(message: Uint8Array, length = message.length): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}

export const trailers = (id: number, ...fields: Buffer[]) =>
  h2Frame(H2.headers, END_HEADERS | END_STREAM, id, Buffer.concat([field("grpc-status", "0"), ...fields]));

/** All of an honest answer. */
export function honest(id: number, message: Uint8Array = Buffer.alloc(0)): Buffer {
  return Buffer.concat([responseHeaders(id), h2Frame(H2.data, 0, id, grpcMessage(message)), trailers(id)]);
}
