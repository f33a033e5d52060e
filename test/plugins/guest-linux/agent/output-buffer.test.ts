import { once } from "node:events";
import { PassThrough } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import * as assert from "uvu/assert";
import { OUTPUT_BUFFER_BYTES, OutputBuffer } from "../../../../plugins/guest-linux/agent/process/output-buffer.ts";
import { OutputStream } from "../../../../plugins/guest-linux/agent/process/output-stream.ts";
import { suite } from "../../../support/suite.ts";
import { readableSource } from "./support/readable-source.ts";

const s = suite("guest agent: output buffer");

/** The byte at a place of the stream. */
const byteAt = (at: number) => (at * 7 + (at >> 8)) & 0xff;

type Step = readonly [verb: "fill" | "take" | "release" | "rewind", amount: number];

s.test("bytes come out as they went in, also those that are left when the stream has ended, wherever the ring stood", () => {
  const verb = fc.constantFrom<Step[0]>("fill", "fill", "take", "take", "release", "rewind");
  const steps = fc.array(fc.tuple(verb, fc.integer({ min: 1, max: 200_000 })), { maxLength: 60 });
  fc.assert(
    fc.property(steps, steps, (before, after) => {
      const buffer = new OutputBuffer();
      const state = { filled: 0, taken: 0, released: 0 };
      for (const step of before) apply(buffer, state, step);
      buffer.finish();
      buffer.finish();
      for (const step of after) if (step[0] !== "fill") apply(buffer, state, step);
      buffer.rewind();
      state.taken = state.released;
      while (state.taken < state.filled) apply(buffer, state, ["take", 1_000_000]);
      assert.is(buffer.available, 0);
      assert.is(buffer.take(1), undefined);
    }),
    { numRuns: 150 },
  );
});

function apply(buffer: OutputBuffer, state: { filled: number; taken: number; released: number }, [verb, amount]: Step): void {
  switch (verb) {
    case "fill": {
      if (OUTPUT_BUFFER_BYTES - (state.filled - state.released) < 128 * 1024) return; // it has said stop
      const bytes = Math.min(amount, buffer.region.length);
      for (let at = 0; at < bytes; at++) buffer.region[at] = byteAt(state.filled + at);
      buffer.filled(bytes);
      state.filled += bytes;
      return;
    }
    case "take": {
      const view = buffer.take(amount);
      if (state.taken === state.filled) {
        assert.is(view, undefined);
        return;
      }
      if (!view || view.length === 0 || view.length > amount) throw new Error(`took ${view?.length} of ${amount}`);
      for (const [at, byte] of view.entries()) if (byte !== byteAt(state.taken + at)) throw new Error(`byte ${state.taken + at}`);
      state.taken += view.length;
      assert.is(buffer.position, state.taken);
      return;
    }
    case "release": {
      const bytes = Math.min(amount, state.taken - state.released);
      buffer.release(bytes);
      state.released += bytes;
      return;
    }
    case "rewind":
      buffer.rewind();
      state.taken = state.released;
  }
}

s.test("a thousand streams that have ended, read or not, take hardly more room than what is left in them", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  const before = process.memoryUsage().arrayBuffers;
  const over: Promise<unknown>[] = [];
  const streams = Array.from({ length: 1000 }, (_, index) => {
    const source = new PassThrough();
    over.push(once(source, "close"));
    const output = new OutputStream(readableSource(source));
    source.end(`${index}\n`);
    return output;
  });
  for (const output of streams.slice(0, 500)) {
    assert.match((await output.read(100)).data.toString(), /^\d+\n$/);
    assert.is((await output.read(100)).data.length, 0);
  }
  for (const output of streams.slice(900)) output.discard();
  await Promise.all(over);
  await nextTurn();
  collect();
  const held = process.memoryUsage().arrayBuffers - before;
  assert.ok(held < 16 * 2 ** 20, `${held} bytes for 1,000 streams`);
  for (const [index, output] of streams.slice(500, 900).entries()) assert.is((await output.read(100)).data.toString(), `${index + 500}\n`);
  assert.is((await streams[950]?.read(100))?.data.length, 0);
});

s.run();
