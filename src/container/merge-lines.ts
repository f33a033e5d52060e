import type { OutputStream } from "./output-stream.ts";

/** A line of a process's output, without its end. */
export interface OutputLine {
  readonly stream: "stdout" | "stderr";
  readonly line: string;
}

interface Source {
  readonly stream: OutputLine["stream"];
  readonly lines: AsyncGenerator<string, void, undefined>;
}

/** The lines of both streams in the order in which they arrive; each stream's own order is kept. Both are read, so neither blocks the process. */
export async function* mergeLines(
  streams: Readonly<Record<OutputLine["stream"], OutputStream>>,
): AsyncGenerator<OutputLine, void, undefined> {
  const sources: Source[] = (["stdout", "stderr"] as const)
    .filter((stream) => !streams[stream].readableEnded)
    .map((stream) => ({ stream, lines: streams[stream].lines() }));
  const next = async (source: Source) => ({ source, result: await source.lines.next() });
  const pending = new Map(sources.map((source) => [source, next(source)]));
  try {
    while (pending.size > 0) {
      const { source, result } = await Promise.race(pending.values());
      if (result.done) {
        pending.delete(source);
        continue;
      }
      pending.set(source, next(source));
      yield { stream: source.stream, line: result.value };
    }
  } finally {
    // Not awaited: a generator that waits for output would end only with the next of it.
    for (const stream of Object.values(streams)) if (!stream.readableEnded) stream.destroy();
    for (const waiting of pending.values()) waiting.catch(() => {});
  }
}
