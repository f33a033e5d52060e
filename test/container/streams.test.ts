import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import * as assert from "uvu/assert";
import { guestStreams } from "../../src/container/guest-streams.ts";
import type { AgentClient } from "../../src/contracts/agent.ts";
import type { GuestInput, GuestOutput } from "../../src/contracts/agent-streams.ts";
import { quietCall } from "../../src/testing/quiet-call.ts";
import { suite } from "../support/suite.ts";

const s = suite("container streams");
const C = { container: "c", exec: "c" } as const;
const { log } = quietCall();

/** A guest that streams these pieces and then the end, and keeps what its reader has said. */
function streaming(pieces: readonly (Buffer | Error)[]) {
  const left = [...pieces];
  const seen = { reads: 0, taken: 0, closed: 0 };
  const output: GuestOutput = {
    async read() {
      seen.reads += 1;
      const piece = left.shift() ?? Buffer.alloc(0);
      if (piece instanceof Error) throw piece;
      return piece;
    },
    taken: (bytes) => {
      seen.taken += bytes;
    },
    close: () => {
      seen.closed += 1;
    },
  };
  const silent: GuestOutput = { read: async () => Buffer.alloc(0), taken: () => {}, close: () => {} };
  const client = { openOutput: async (_: object, name: string) => (name === "stdout" ? output : silent) } as unknown as AgentClient;
  return { seen, streams: guestStreams(client, C, log) };
}

s.test("the first bytes are there before anybody reads, are not taken then, and a reader that stops is asked for no more", async () => {
  const { seen, streams } = streaming([Buffer.from("first"), Buffer.from("second")]);
  await delay(10);
  assert.equal(seen, { reads: 1, taken: 0, closed: 0 });
  streams.stdout.read();
  await delay(10);
  assert.equal(seen, { reads: 2, taken: 5, closed: 0 });
  streams.close();
  assert.equal(seen, { reads: 2, taken: 5, closed: 1 });
});

s.test("of a piece that was read in part the rest is not taken when the stream is let go", async () => {
  const { seen, streams } = streaming([Buffer.from("abcdef")]);
  await delay(10);
  assert.is(String(streams.stdout.read(2)), "ab");
  streams.close();
  assert.is(seen.taken, 2);
  assert.is(seen.closed, 1);
});

s.test("a stream that is read to its end has been taken whole, and lets go of itself", async () => {
  const bytes = randomBytes(300_000);
  const { seen, streams } = streaming([bytes.subarray(0, 7), bytes.subarray(7, 200_000), bytes.subarray(200_000)]);
  assert.ok((await streams.stdout.bytes()).equals(bytes));
  await delay(0);
  assert.is(seen.taken, bytes.length);
  assert.is(seen.closed, 1);
});

s.test("lines() cuts across pieces, and a very long line comes in pieces of 1 MiB", async () => {
  const long = Buffer.alloc(5 * 2 ** 20, "x");
  const { streams } = streaming([Buffer.from("a\r"), Buffer.from("\nb"), long, Buffer.from("\nlast")]);
  const lengths: number[] = [];
  for await (const line of streams.stdout.lines()) lengths.push(line.length);
  assert.equal(lengths, [1, 2 ** 20, 2 ** 20, 2 ** 20, 2 ** 20, 2 ** 20, 1, 4]);
});

s.test("a stream that breaks fails its reader", async () => {
  const { streams } = streaming([Buffer.from("x"), new Error("broken")]);
  const error = await streams.stdout.text().catch((reason: Error) => reason.message);
  assert.is(error, "broken");
});

s.test("without a stream to be had each piece is asked for", async () => {
  const left = ["one ", "two"];
  const asked: string[] = [];
  const client = {
    openOutput: async () => undefined,
    openInput: async () => undefined,
    readStdout: async () => Buffer.from(left.shift() ?? ""),
    readStderr: async () => Buffer.alloc(0),
    writeStdin: async (_: object, data: Uint8Array) => {
      asked.push(Buffer.from(data).toString());
      return data.length;
    },
    closeStdin: async () => void asked.push("close"),
  } as unknown as AgentClient;
  const streams = guestStreams(client, C, log);
  streams.stdin.end("input");
  assert.is(await streams.stdout.text(), "one two");
  await delay(0);
  assert.equal(asked, ["input", "close"]);
});

s.test(
  "input is opened by the first write, small writes go together, and its end is awaited; without a write it is only closed",
  async () => {
    const seen: string[] = [];
    let release: () => void = () => {};
    const input: GuestInput = {
      write: (data) => {
        seen.push(`write ${data.length}`);
        return new Promise((resolve) => {
          release = resolve;
        });
      },
      end: async () => void seen.push("end"),
      close: () => void seen.push("let go"),
    };
    const client = {
      openInput: async () => input,
      readStdout: async () => Buffer.alloc(0),
      readStderr: async () => Buffer.alloc(0),
      closeStdin: async () => void seen.push("close"),
    } as unknown as AgentClient;
    const { stdin } = guestStreams(client, C, log);
    for (let i = 0; i < 10; i++) stdin.write("0123456789");
    await delay(5);
    assert.equal(seen, ["write 10"]);
    release();
    await delay(5);
    assert.equal(seen, ["write 10", "write 90"]);
    release();
    await new Promise<void>((resolve) => stdin.end(resolve));
    assert.equal(seen.slice(2, 3), ["end"]);
    await new Promise<void>((resolve) => guestStreams(client, C, log).stdin.end(resolve));
    assert.ok(seen.includes("close"));
  },
);

s.run();
