import { once } from "node:events";
import { type Duplex, duplexPair } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { encodeAcknowledgement, encodePreamble, type YamuxSession } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { inputOver } from "../../../../plugins/agent-grpc/data-stream/input.ts";
import { openDataStream } from "../../../../plugins/agent-grpc/data-stream/open.ts";
import { outputOver } from "../../../../plugins/agent-grpc/data-stream/output.ts";
import { DATA_WINDOW_BYTES } from "../../../../plugins/agent-grpc/limits.ts";
import { OUTPUT_BUFFER_BYTES } from "../../../../plugins/guest-linux/agent/process/output-stream.ts";
import type { GuestOutput } from "../../../../src/contracts/agent-streams.ts";
import { quietCall } from "../../../../src/testing/quiet-call.ts";
import { rejects } from "../../../support/rejects.ts";
import { suite } from "../../../support/suite.ts";
import { linkOver, streamWorld } from "./stream-world.ts";

const s = suite("data streams: host and guest");
const MiB = 1024 * 1024;
const C = { container: "c", exec: "c" } as const;
const STDOUT = { ...C, stream: "stdout" } as const;
const soon = () => AbortSignal.timeout(10_000);

const openOutput = async (session: YamuxSession) => outputOver(await openDataStream(linkOver(session), STDOUT, quietCall()));
const openInput = async (session: YamuxSession) =>
  inputOver(await openDataStream(linkOver(session), { ...C, stream: "stdin" }, quietCall()));

/** Reads to the end, or until the connection breaks; says of each piece that it has it. */
async function readAll(output: GuestOutput, into: Uint8Array[] = []): Promise<string> {
  for (;;) {
    const chunk = await output.read(soon());
    if (chunk.length === 0) return Buffer.concat(into).toString("latin1");
    into.push(Buffer.from(chunk));
    output.taken(chunk.length);
  }
}

s.test("a preamble is found at every split of its bytes, and what is none reaches gRPC as it came", async () => {
  await using world = streamWorld();
  const preamble = encodePreamble(STDOUT);
  for (let at = 1; at < preamble.length; at++) {
    const [host, guest] = duplexPair() as [Duplex, Duplex];
    world.serve(guest);
    host.write(preamble.subarray(0, at));
    await delay(0);
    host.write(preamble.subarray(at));
    assert.is(String((await once(host, "data"))[0]), '{"ok":true}\n', `split at ${at}`);
    host.destroy();
    guest.destroy();
  }
  const foreign = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  const almost = Buffer.from("tapvisor-stream/2 ");
  for (const bytes of [foreign, almost]) {
    for (let at = 1; at < bytes.length; at++) {
      const [host, guest] = duplexPair() as [Duplex, Duplex];
      world.serve(guest);
      host.write(bytes.subarray(0, at));
      await delay(0);
      host.end(bytes.subarray(at));
      const seen: Buffer[] = [];
      while (world.toGrpc.length === 0) await delay(0);
      for await (const chunk of world.toGrpc.pop() as Duplex) seen.push(chunk as Buffer);
      assert.ok(Buffer.concat(seen).equals(bytes), `split at ${at}`);
    }
  }
});

s.test("a stream of no process, a stream that there is not, and a preamble without end are refused", async () => {
  await using world = streamWorld();
  const answer = async (bytes: Buffer) => {
    const [host, guest] = duplexPair() as [Duplex, Duplex];
    world.serve(guest);
    host.write(bytes);
    const parts: Buffer[] = [];
    for await (const part of host) parts.push(part as Buffer);
    return JSON.parse(Buffer.concat(parts).toString()).status;
  };
  assert.is(await answer(encodePreamble({ container: "x", exec: "c", stream: "stdout" })), "NOT_FOUND");
  assert.is(await answer(encodePreamble({ container: "c", exec: "x", stream: "stdin" })), "NOT_FOUND");
  assert.is(await answer(Buffer.from('tapvisor-stream/1 {"stream":"stdlog"}\n')), "INVALID_ARGUMENT");
  assert.is(await answer(Buffer.from(`tapvisor-stream/1 ${"x".repeat(9000)}`)), "INVALID_ARGUMENT");
  await using session = await closing(world.connect());
  const error = await rejects(
    openDataStream(linkOver(session), { container: "x", exec: "x", stream: "stdout" }, quietCall()),
    "AGENT_FAILED",
  );
  assert.is(error.data.status, "NOT_FOUND");
});

s.test("nothing is read before the start is decided, and the end comes when the process is discarded", async () => {
  let decide: () => void = () => {};
  const decided = new Promise<void>((resolve) => {
    decide = resolve;
  });
  await using world = streamWorld({ decided });
  await using session = await closing(world.connect());
  world.written.write("text of the runtime");
  const output = await openOutput(session);
  const early = output.read(soon());
  assert.is(await Promise.race([early, delay(50, "nothing")]), "nothing");
  world.pipes.stdout.discard();
  decide();
  assert.is((await early).length, 0);
  assert.is((await output.read(soon())).length, 0, "the end again");
});

s.test("readers take turns: the next one goes on where the one before was closed, by whichever call", async () => {
  await using world = streamWorld();
  await using session = await closing(world.connect());
  world.written.write("abcdef");
  const first = await openOutput(session);
  assert.is(Buffer.from(await first.read(soon())).toString(), "abcdef");
  first.taken(2);
  const second = await openOutput(session);
  const waiting = second.read(soon());
  assert.is(await Promise.race([waiting, delay(50, "nothing")]), "nothing");
  first.close();
  first.close();
  assert.is(Buffer.from(await waiting).toString(), "cdef");
  second.taken(3);
  const asked = world.pipes.stdout.read(100, soon());
  second.close();
  assert.is((await asked).data.toString(), "f");
  world.pipes.stdout.giveBack(await asked);
  const third = await openOutput(session);
  world.written.end("gh");
  assert.is(await readAll(third), "fgh");
});

s.test("within a connection no byte is lost or given twice, wherever a reader stops", async () => {
  const text = "0123456789abcdefghijklmnopqrstuvwxyz";
  await using world = streamWorld();
  await using session = await closing(world.connect());
  world.written.end(text);
  let seen = "";
  for (let step = 1; seen.length < text.length; step++) {
    const output = await openOutput(session);
    const chunk = Buffer.from(await output.read(soon()))
      .toString()
      .slice(0, step);
    seen += chunk;
    output.taken(chunk.length);
    output.close();
  }
  assert.is(seen, text);
});

s.test("a connection cut at any byte loses nothing, and gives again only what its reader had not acknowledged", async () => {
  const text = "the first line\nand the second\n";
  const run = async (limits: { toHost?: number; toGuest?: number }) => {
    await using world = streamWorld();
    const first: Uint8Array[] = [];
    world.written.write(text.slice(0, 10));
    const reading = world.connect(limits).then(async (session) => {
      await readAll(await openOutput(session), first);
      await session.close();
    });
    reading.catch(() => {});
    await delay(0);
    world.written.write(text.slice(10, 20));
    world.written.end(text.slice(20));
    await reading.catch(() => {});
    const got = Buffer.concat(first).toString();
    await using next = await closing(world.connect());
    const rest = await readAll(await openOutput(next));
    return { got, rest, sent: { ...world.serial.sent } };
  };
  const whole = await run({});
  assert.is(whole.got, text);
  let cuts = 0;
  for (const [side, bytes] of [
    ["toHost", whole.sent.toHost],
    ["toGuest", whole.sent.toGuest],
  ] as const) {
    for (let at = 1; at < bytes; at++) {
      const { got, rest } = await run({ [side]: at });
      cuts += 1;
      assert.ok(text.startsWith(got), `${side} ${at}: ${got}`);
      assert.ok(text.endsWith(rest) && got.length + rest.length >= text.length, `${side} ${at}: "${got}" then "${rest}"`);
    }
  }
  assert.ok(cuts > 200, `${cuts} cuts`);
});

s.test("a reader that stops bounds what the guest and the host hold; nothing is lost when it goes on", async () => {
  await using world = streamWorld();
  await using session = await closing(world.connect());
  const output = await openOutput(session);
  const total = 8 * OUTPUT_BUFFER_BYTES;
  const block = Buffer.alloc(16 * 1024, "0123456789abcdef");
  let taken = 0;
  const fill = () => {
    while (taken < total && world.written.writableLength < 16 * 1024) {
      world.written.write(block);
      taken += block.length;
    }
    if (taken === total) world.written.end();
  };
  world.written.on("drain", fill);
  fill();
  for (let before = -1; before !== taken; ) {
    before = taken;
    await delay(100);
  }
  const held = OUTPUT_BUFFER_BYTES + DATA_WINDOW_BYTES + 128 * 1024;
  assert.ok(taken <= held, `the process could write ${taken} bytes, of which ${held} can be held`);
  let bytes = 0;
  for (;;) {
    const chunk = await output.read(soon());
    if (chunk.length === 0) break;
    for (const [index, byte] of chunk.entries()) if (byte !== block[(bytes + index) % 16]) throw new Error(`byte ${bytes + index}`);
    bytes += chunk.length;
    output.taken(chunk.length);
  }
  assert.is(bytes, total);
});

s.test("a reader that never acknowledges is given no more than the agent holds", async () => {
  await using world = streamWorld();
  await using session = await closing(world.connect());
  const output = await openOutput(session);
  const block = Buffer.alloc(64 * 1024);
  world.written.on("drain", () => world.written.write(block));
  world.written.write(block);
  let bytes = 0;
  for (;;) {
    const chunk = await Promise.race([output.read(soon()).catch(() => new Uint8Array(0)), delay(200, undefined)]);
    if (!chunk) break;
    bytes += chunk.length;
  }
  assert.ok(bytes <= OUTPUT_BUFFER_BYTES, `${bytes} bytes`);
  world.written.removeAllListeners("drain");
});

s.test("a false acknowledgement ends its stream, and only that", async () => {
  await using world = streamWorld();
  await using session = await closing(world.connect());
  world.written.write("abc");
  for (const lie of [encodeAcknowledgement(4), Buffer.alloc(4)]) {
    const { stream, first, broken } = await openDataStream(linkOver(session), STDOUT, quietCall());
    if (first.length === 0) await once(stream, "readable");
    stream.write(lie);
    stream.resume();
    await new Promise((resolve) => stream.once("close", resolve));
    assert.is(broken().code, "AGENT_FAILED");
  }
  world.written.end();
  assert.is(await readAll(await openOutput(session)), "abc");
});

s.test("input is written when the pipe has taken it; its end closes the pipe, and a connection that breaks does not", async () => {
  await using world = streamWorld();
  const session = await world.connect();
  const input = await openInput(session);
  await input.write(Buffer.from("one "), soon());
  assert.is(String(world.input.read()), "one ");
  await session.close();
  await rejects(input.write(Buffer.from("lost"), soon()), "AGENT_LOST");
  await using next = await closing(world.connect());
  const again = await openInput(next);
  const blocked = again.write(Buffer.alloc(200_000, "x"), soon());
  assert.is(await Promise.race([blocked, delay(50, "waits")]), "waits", "the pipe holds 64 KiB");
  assert.is(world.input.writableEnded, false);
  world.input.resume();
  await blocked;
  await again.end(soon());
  assert.is(world.input.writableEnded, true);
  await rejects(
    openInput(next).then((late) => late.write(Buffer.from("late"), soon())),
    "AGENT_FAILED",
  );
});

s.test("a process that stops reading bounds what the guest holds of its input; nothing is lost when it goes on", async () => {
  await using world = streamWorld();
  await using session = await closing(world.connect());
  const { stream } = await openDataStream(linkOver(session), { ...C, stream: "stdin" }, quietCall());
  const block = Buffer.alloc(64 * 1024, "0123456789abcdef");
  let sent = 0;
  const send = () => {
    while (sent < 8 * MiB && stream.write(block)) sent += block.length;
  };
  stream.on("drain", () => {
    sent += block.length; // the write that was told to stop had been taken
    send();
  });
  stream.resume();
  send();
  for (let before = -1; before !== sent; ) {
    before = sent;
    await delay(100);
  }
  const held = 1 * MiB + 2 * 256 * 1024 + 2 * 128 * 1024; // the window, what waits and what is being written, and the host's own mark
  assert.ok(sent <= held && sent >= 1 * MiB, `${sent} bytes were sent, of which ${held} can be held`);
  let bytes = 0;
  world.input.on("data", (chunk: Buffer) => {
    for (const byte of chunk) if (byte !== block[bytes++ % 16]) throw new Error(`byte ${bytes - 1}`);
  });
  while (bytes < 8 * MiB) await delay(10);
  stream.destroy();
});

s.test("a process that takes no more fails the write that waits, and the stream ends", async () => {
  await using world = streamWorld();
  await using session = await closing(world.connect());
  const input = await openInput(session);
  const blocked = input.write(Buffer.alloc(300_000), soon());
  await delay(20);
  world.input.destroy(new Error("EPIPE"));
  const error = await rejects(blocked, "AGENT_FAILED");
  assert.is(error.data.status, "FAILED_PRECONDITION");
});

async function closing(connecting: Promise<YamuxSession>): Promise<YamuxSession & AsyncDisposable> {
  const session = await connecting;
  return Object.assign(session, { [Symbol.asyncDispose]: () => session.close() });
}

s.run();
