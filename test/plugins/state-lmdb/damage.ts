/** The file with the damage of this kind and number: the same in every run. */
export function damage(kind: "cut" | "record", intact: Uint8Array, round: number): Uint8Array {
  const random = numbers(round + 1);
  if (kind === "cut") return intact.subarray(0, random(intact.length));
  const bytes = Buffer.from(intact);
  const at = record(bytes, random);
  bytes.fill(0x21, at, at + 1 + random(50));
  return bytes;
}

/** Somewhere in the text of a record. */
function record(bytes: Buffer, random: (below: number) => number): number {
  const found: number[] = [];
  for (let at = bytes.indexOf('"filler"'); at >= 0; at = bytes.indexOf('"filler"', at + 1)) found.push(at);
  return (found[random(found.length)] as number) + random(2_000);
}

/** The multiplier and increment are those of a common linear congruential generator. */
function numbers(start: number): (below: number) => number {
  let seed = start;
  return (below) => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
}
