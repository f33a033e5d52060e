import fc from "fast-check";

type Edit = (bytes: Buffer) => Buffer;

/** Where an edit begins, as a part of the length, so that it shrinks with the bytes. */
const place = fc.double({ min: 0, max: 1, noNaN: true });
const at = (bytes: Buffer, where: number) => Math.min(bytes.length - 1, Math.floor(where * bytes.length));

const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.tuple(place, fc.nat(7)).map(
    ([where, bit]): Edit =>
      (bytes) =>
        set(bytes, at(bytes, where), (byte) => byte ^ (1 << bit)),
  ),
  fc.tuple(place, fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)).map(
    ([where, value]): Edit =>
      (bytes) =>
        set(bytes, at(bytes, where), () => value),
  ),
  place.map(
    (where): Edit =>
      (bytes) =>
        bytes.subarray(0, at(bytes, where)),
  ),
  fc.tuple(place, fc.uint8Array({ minLength: 1, maxLength: 12 })).map(
    ([where, added]): Edit =>
      (bytes) =>
        splice(bytes, at(bytes, where), 0, added),
  ),
  fc.tuple(place, fc.integer({ min: 1, max: 40 })).map(
    ([where, count]): Edit =>
      (bytes) =>
        splice(bytes, at(bytes, where), count, []),
  ),
  fc.tuple(place, fc.integer({ min: 1, max: 60 }), fc.constantFrom(1, 2, 300)).map(
    ([where, count, times]): Edit =>
      (bytes) => {
        const from = at(bytes, where);
        const part = bytes.subarray(from, from + count);
        return splice(bytes, from, 0, Buffer.concat(Array<Buffer>(times).fill(part)));
      },
  ),
);

/** A few things to do wrong: bits, bytes, lengths, parts missing, added or repeated; sometimes none. */
export const edits = fc.array(edit, { maxLength: 4 });

export function edited(bytes: Uint8Array, all: readonly Edit[]): Buffer {
  return all.reduce((before: Buffer, each) => (before.length > 0 ? each(before) : before), Buffer.from(bytes));
}

/** Valid bytes with a few things wrong with them. */
export function mutated(valid: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Buffer> {
  return fc.tuple(valid, edits).map(([bytes, all]) => edited(bytes, all));
}

/** More of them are only slower. */
const MOST_PIECES = 2000;

/** Cuts bytes into pieces of these sizes, over and over; larger ones where there are very many bytes. */
export function split(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  const least = Math.ceil(bytes.length / MOST_PIECES);
  for (let from = 0; from < bytes.length; ) {
    const size = Math.max(least, sizes[pieces.length % sizes.length] ?? bytes.length);
    pieces.push(bytes.subarray(from, from + size));
    from += size;
  }
  return pieces;
}

export const splits = fc.array(fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 100_000 })), {
  minLength: 1,
  maxLength: 6,
});

function set(bytes: Buffer, index: number, change: (byte: number) => number): Buffer {
  const copy = Buffer.from(bytes);
  copy[index] = change(copy[index] ?? 0);
  return copy;
}

function splice(bytes: Buffer, index: number, removed: number, added: Iterable<number>): Buffer {
  return Buffer.concat([bytes.subarray(0, index), Buffer.from([...added]), bytes.subarray(index + removed)]);
}
