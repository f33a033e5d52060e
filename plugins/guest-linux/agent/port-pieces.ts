/** What the kernel's port takes at a time, bytes; it stops a vectored write behind a piece that is longer. */
const PIECE_BYTES = 32 * 1024;
/** Below it copying costs less than a piece of its own: each is a request to the hypervisor. */
const COPY_BYTES = 4 * 1024;
const SCRATCH_BYTES = 16 * PIECE_BYTES;

/**
 * Cuts frames into pieces for a vectored write, as few as can be: small ones are put together with the beginning of what follows. The pieces are
 * good until the next call, which uses the same memory: fresh memory costs more than the copy, since the kernel has to clear it.
 */
export function portPieces(): (frames: readonly Buffer[]) => readonly Buffer[] {
  const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  return (frames) => {
    const pieces: Buffer[] = [];
    let free = scratch;
    let used = 0;
    const flush = () => {
      if (used > 0) pieces.push(free.subarray(0, used));
      free = free.subarray(used);
      used = 0;
    };
    const copy = (bytes: Buffer) => {
      const room = Math.min(PIECE_BYTES - used, bytes.length);
      if (free.length < used + room) {
        flush();
        free = Buffer.allocUnsafe(PIECE_BYTES);
      }
      const taken = bytes.copy(free, used, 0, Math.min(PIECE_BYTES - used, bytes.length));
      used += taken;
      if (used === PIECE_BYTES) flush();
      return bytes.subarray(taken);
    };
    for (const frame of frames) {
      let rest = used > 0 ? copy(frame) : frame;
      while (rest.length >= COPY_BYTES) {
        flush();
        pieces.push(rest.subarray(0, PIECE_BYTES));
        rest = rest.subarray(PIECE_BYTES);
      }
      while (rest.length > 0) rest = copy(rest);
    }
    flush();
    return pieces;
  };
}
