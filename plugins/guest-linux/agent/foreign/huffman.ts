/** The length of each byte's code in HPACK's Huffman code (RFC 7541, appendix B), bits, in base 36. The code is canonical: the lengths are all of it. */
const LENGTHS =
  "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad67777777777777777777777878djde6f56565666577666567655677777fbeds" +
  "kmskkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmnqqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrq";

/** Bytes by their code, a 1 put before it so that its zeros count. */
const BYTES = new Map<number, number>();

let code = 0;
let length = 0;
for (const [bits, byte] of [...LENGTHS]
  .map((digit, byte) => [Number.parseInt(digit, 36), byte] as const)
  .sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
  code *= 2 ** (bits - length);
  length = bits;
  BYTES.set(2 ** bits + code, byte);
  code += 1;
}

/** The bytes of a coded string. What is left at its end, less than a byte of ones, is padding. */
export function huffmanDecode(coded: Uint8Array): Buffer {
  const bytes: number[] = [];
  let read = 1;
  for (const octet of coded) {
    for (let bit = 7; bit >= 0; bit -= 1) {
      read = read * 2 + ((octet >> bit) & 1);
      const byte = BYTES.get(read);
      if (byte === undefined) continue;
      bytes.push(byte);
      read = 1;
    }
  }
  return Buffer.from(bytes);
}
