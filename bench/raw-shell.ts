import type { BareVm, Parts } from "./bare.ts";
import { reader, withRawGuest } from "./raw-guest.ts";

/** Milliseconds of the least that could do the same in a guest of the same kernel: a shell that reads lines from the very same port, and answers each with one byte. */
export interface RawShellTimes {
  /** It answers at once. */
  readonly call: readonly number[];
  /** It runs `true`, of busybox, before. */
  readonly process: readonly number[];
}

export async function rawShellTimes(parts: Parts, rounds: number): Promise<RawShellTimes> {
  const answering = "while read -r line; do case $line in p) ;; x) /bin/busybox true ;; esac; echo -n . >&3; done <&3";
  return withRawGuest(parts, answering, async (vm: BareVm) => {
    const socket = await vm.connected();
    const read = reader(socket);
    const timed = async (word: string) => {
      const times: number[] = [];
      for (let round = 0; round < rounds + 3; round++) {
        const start = performance.now();
        socket.write(`${word}\n`);
        await read(1);
        if (round >= 3) times.push(performance.now() - start);
      }
      return times;
    };
    return { call: await timed("p"), process: await timed("x") };
  });
}
