import { closeSync, openSync, readSync } from "node:fs";

/**
 * So many random bytes of the kernel's, in hexadecimal digits. Not of Node's generator: its state is saved with a guest, so that every clone would go on with the
 * same numbers.
 */
export function randomHex(bytes: number): string {
  const device = openSync("/dev/urandom", "r");
  try {
    const buffer = Buffer.alloc(bytes);
    readSync(device, buffer, 0, bytes, null);
    return buffer.toString("hex");
  } finally {
    closeSync(device);
  }
}
