import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { BareVm, type Parts } from "./bare.ts";
import { changedInitrd } from "./raw-guest.ts";

/** What the agent takes in a guest that has just booted and answered. */
export interface Footprint {
  /** Bytes of memory that are its process's, what it shares with others in full. */
  readonly rss: number;
  /** The same, what it shares by its share. */
  readonly pss: number;
  /** From the start of its program to its first answer, ms. */
  readonly startMs: number;
  /** From the start of QEMU to that answer, ms. */
  readonly bootMs: number;
}

/**
 * A shell that stays behind in the first root file system, and says on the console what the agent's process has: its own words only, since the programs there
 * are gone by then. `read -t` of a pipe that stays empty is its clock.
 */
const WATCH = `(
  cd /proc; exec 4<>/fifo 5>/dev/ttyS0
  while :; do
    read -t 1 nothing <&4
    read -r uptime rest < uptime
    for pid in [0-9]*; do
      { read -r name < $pid/comm; } 2>/dev/null || continue
      [ "$name" = node ] || continue
      read -r line < $pid/stat; set -- \${line##*) }
      started=\${20}
      while read -r key value unit; do case $key in Rss:) rss=$value ;; Pss:) pss=$value ;; esac; done < $pid/smaps_rollup
      echo "footprint $uptime $started $rss $pss" >&5
    done
  done
) &
`;

export async function agentFootprint(parts: Parts): Promise<Footprint> {
  const directory = await mkdtemp(join(tmpdir(), "tv-foot-"));
  try {
    const initrd = await changedInitrd(directory, parts.boot.initrd ?? "", (init) =>
      init.replace("mount -t erofs", `mkfifo /fifo\n${WATCH}mount -t erofs`),
    );
    const spawned = performance.now();
    await using vm = await BareVm.start({ ...parts, boot: { ...parts.boot, initrd } }, 512 * 2 ** 20);
    const lines = createInterface({ input: vm.console });
    let answered = 0;
    const footprint = new Promise<{ readonly words: readonly number[]; readonly heard: number }>((resolve) => {
      lines.on("line", (line) => {
        const words = /^footprint ([\d.]+) (\d+) (\d+) (\d+)/.exec(line)?.slice(1).map(Number);
        if (words && answered > 0) resolve({ words, heard: performance.now() });
      });
    });
    const client = await vm.firstAnswer(parts);
    answered = performance.now();
    const { words, heard } = await footprint;
    await client.close();
    const [uptime = 0, started = 0, rss = 0, pss = 0] = words;
    const agentStarted = heard - uptime * 1000 + started * 10; // by the host's clock; ticks are 10 ms
    return { rss: rss * 1024, pss: pss * 1024, startMs: answered - agentStarted, bootMs: answered - spawned };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
