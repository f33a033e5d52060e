import { huffmanDecode } from "./huffman.ts";

/** Of the static table. */
const AUTHORITY = 1;
/** What HTTP/2 libraries agree on as an authority. */
const UNUSUAL = /[^A-Za-z0-9.:-]/g;

class Malformed extends Error {}

/**
 * A header block (RFC 7541) whose `:authority`, where it stands as text, has a dot in the place of every character that is none of an authority's;
 * `undefined` when nothing is to be changed, also in a block that cannot be read. The length stays, so that both sides' tables drop the same entries.
 */
export function withUsualAuthority(block: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  let kept = 0;
  let at = 0;
  try {
    while (at < block.length) {
      const first = block[at] ?? 0;
      if (first & 0x80) at = integer(block, at, 7).end;
      else if ((first & 0xe0) === 0x20) at = integer(block, at, 5).end;
      else {
        const name = integer(block, at, first & 0x40 ? 6 : 4);
        const value = text(block, name.value === 0 ? text(block, name.end).end : name.end);
        const usual = name.value === AUTHORITY ? usualText(value) : undefined;
        if (usual) {
          parts.push(block.subarray(kept, name.end), usual);
          kept = value.end;
        }
        at = value.end;
      }
    }
  } catch (error) {
    if (error instanceof Malformed) return undefined; // the HTTP/2 library says what is wrong with it
    throw error;
  }
  return kept === 0 ? undefined : Buffer.concat([...parts, block.subarray(kept)]);
}

function usualText({ bytes, coded }: ReturnType<typeof text>): Buffer | undefined {
  const found = (coded ? huffmanDecode(bytes) : bytes).toString("latin1");
  const usual = found.replace(UNUSUAL, ".");
  return usual === found ? undefined : Buffer.concat([lengthOf(usual.length), Buffer.from(usual, "latin1")]);
}

/** An integer whose first octet has `bits` bits of it. */
function integer(block: Buffer, at: number, bits: number): { readonly value: number; readonly end: number } {
  const most = 2 ** bits - 1;
  let value = octet(block, at) & most;
  let end = at + 1;
  if (value < most) return { value, end };
  for (let shift = 0; ; shift += 7) {
    const next = octet(block, end);
    end += 1;
    value += (next & 0x7f) * 2 ** shift;
    if (next < 0x80) return { value, end };
    if (shift > 21) throw new Malformed();
  }
}

function text(block: Buffer, at: number): { readonly bytes: Buffer; readonly coded: boolean; readonly end: number } {
  const { value: length, end: start } = integer(block, at, 7);
  const end = start + length;
  if (end > block.length) throw new Malformed();
  return { bytes: block.subarray(start, end), coded: octet(block, at) >= 0x80, end };
}

function octet(block: Buffer, at: number): number {
  const found = block[at];
  if (found === undefined) throw new Malformed();
  return found;
}

/** The length of a text that is not coded. */
function lengthOf(length: number): Buffer {
  const most = 0x7f;
  if (length < most) return Buffer.from([length]);
  const octets = [most];
  let rest = length - most;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) octets.push((rest % 0x80) + 0x80);
  return Buffer.from([...octets, rest]);
}
