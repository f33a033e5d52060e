import { once } from "node:events";
import type { Duplex } from "node:stream";
import v8 from "node:v8";
import vm from "node:vm";
import { isTapvisorError } from "tapvisor/plugin";
import { encodeHeader, FLAG, TYPE, YamuxSession, type YamuxStream } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { collect, nextStream, readAll, sessionPair, turn } from "./support/pipes.ts";

const s = suite("yamux session");
const hex = (text: string) => text.replaceAll(" ", "");
const codeOf = (error: unknown) => (isTapvisorError(error) ? error.code : String(error));
const failed = (stream: Duplex) => new Promise<unknown>((resolve) => stream.once("error", resolve));

v8.setFlagsFromString("--expose-gc");
const collectGarbage = vm.runInNewContext("gc") as () => void;

/** The next bytes that have arrived, waiting for some. */
async function nextChunk(stream: Duplex): Promise<Buffer> {
  for (;;) {
    const chunk = stream.read() as Buffer | null;
    if (chunk) return chunk;
    await once(stream, "readable");
  }
}

/** The least of several looks: freed memory is returned by another thread, a little later. */
async function heldBytes(): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let look = 0; look < 20; look += 1) {
    collectGarbage();
    await turn();
    least = Math.min(least, process.memoryUsage().arrayBuffers);
  }
  return least;
}

/** A server that is fed by hand, with what it writes. */
function server(onStream?: (stream: Duplex) => void) {
  const output = collect();
  const session = new YamuxSession({ role: "server", output });
  session.onStream = onStream;
  return { session, output, feed: (...frames: Buffer[]) => session.receive(Buffer.concat(frames)) };
}

s.test("what a client puts on the wire for open, write, half-close and ping is HashiCorp's, byte for byte", async () => {
  const output = collect();
  const client = new YamuxSession({ role: "client", output });
  const stream = client.openStream();
  await turn();
  stream.write("abc");
  await turn();
  stream.end();
  await turn();
  const ping = client.ping();
  await turn();
  const wanted = "00010001 00000001 00000000 00000000 00000001 00000003 616263 00010004 00000001 00000000 00020001 00000000 00000001";
  assert.is(output.all().toString("hex"), hex(wanted));
  client.receive(encodeHeader(TYPE.ping, FLAG.ack, 0, 1));
  assert.ok((await ping) >= 0);
  await client.close();
});

s.test("what a server answers to open, ping and a reset stream is HashiCorp's, byte for byte", async () => {
  const { session, output, feed } = server((stream) => stream.resume());
  feed(encodeHeader(TYPE.window, FLAG.syn, 1, 0), encodeHeader(TYPE.ping, FLAG.syn, 0, 0xfeedbeef));
  await turn();
  assert.is(output.all().toString("hex"), hex("00020002 00000000 feedbeef 00010002 00000001 00000000"));
  feed(encodeHeader(TYPE.window, FLAG.rst, 1, 0));
  await session.close();
  assert.ok(output.all().toString("hex").endsWith(hex("00030000 00000000 00000000")));
});

s.test("a stream carries bytes both ways, and each side ends on its own", async () => {
  await using pair = sessionPair();
  const accepted = nextStream(pair.server);
  const near = pair.client.openStream();
  near.end("question");
  const far = await accepted;
  assert.is((await readAll(far)).toString(), "question");
  assert.ok(far.writable);
  far.end("answer");
  assert.is((await readAll(near)).toString(), "answer");
});

s.test("a server opens streams too, with even ids that the client accepts", async () => {
  await using pair = sessionPair();
  const accepted = nextStream(pair.client);
  pair.server.openStream().end("from the guest");
  assert.is((await readAll(await accepted)).toString(), "from the guest");
});

s.test("destroying a stream resets it at the other side, and only it", async () => {
  await using pair = sessionPair();
  pair.server.onStream = (stream) => stream.pipe(stream);
  const first = pair.client.openStream();
  const second = pair.client.openStream();
  first.write("x");
  await once(first, "data");
  const accepted = nextStream(pair.server);
  const third = pair.client.openStream();
  const far = await accepted;
  const reset = failed(far);
  third.destroy();
  assert.is(codeOf(await reset), "AGENT_LOST");
  second.end("still here");
  assert.is((await readAll(second)).toString(), "still here");
});

s.test("streams are refused while nobody takes them, above the limit, and after go-away", async () => {
  await using pair = sessionPair({ maxStreams: 2 });
  assert.is(codeOf(await failed(pair.client.openStream())), "AGENT_LOST");
  pair.server.onStream = (stream) => stream.resume();
  pair.client.openStream();
  pair.client.openStream();
  assert.throws(
    () => pair.client.openStream(),
    (error: unknown) => codeOf(error) === "HOST_LIMIT",
  );
  pair.server.goAway();
  await pair.client.ping();
  assert.throws(
    () => pair.client.openStream(),
    (error: unknown) => codeOf(error) === "AGENT_LOST",
  );
});

s.test("a peer that opens more streams than it may gets the rest refused, and the session goes on", async () => {
  const output = collect();
  const session = new YamuxSession({ role: "server", output, maxStreams: 1 });
  session.onStream = (stream) => stream.resume();
  session.receive(Buffer.concat([encodeHeader(TYPE.window, FLAG.syn, 1, 0), encodeHeader(TYPE.window, FLAG.syn, 3, 0)]));
  await turn();
  assert.is(output.all().toString("hex"), hex("00010008 00000003 00000000 00010002 00000001 00000000"));
  assert.not(session.ended);
  await session.close();
});

s.test("a reader that pauses stops the writer at one window, and gets all of it when it goes on", async () => {
  await using pair = sessionPair();
  const accepted = nextStream(pair.server);
  const near = pair.client.openStream();
  let written = 0;
  const chunk = Buffer.alloc(10_000, 7);
  const total = 1_000_000;
  const writing = (async () => {
    for (; written < total; written += chunk.length) if (!near.write(chunk)) await once(near, "drain");
    near.end();
  })();
  writing.catch(() => {});
  const far = await accepted;
  for (let seen = -1; seen !== written; ) {
    seen = written;
    for (let i = 0; i < 5; i += 1) await pair.client.ping(); // each goes behind what was written, so it is there by then
  }
  // one window on the way, and what a Duplex buffers before write() says stop: its mark and the write that passed it
  assert.ok(written >= 262_144 && written <= 262_144 + 2 * 65_536 + 2 * chunk.length, `wrote ${written}`);
  assert.is((await readAll(far)).length, total);
  await writing;
});

s.test("small frames that nobody reads cost little more than their bytes", async () => {
  const streams: Duplex[] = [];
  const { session, feed } = server((stream) => streams.push(stream));
  const others = encodeHeader(TYPE.data, 0, 99, 60_000);
  const filler = Buffer.alloc(60_000);
  feed(encodeHeader(TYPE.window, FLAG.syn, 1, 0));
  const before = await heldBytes();
  for (let i = 0; i < 1000; i += 1) feed(encodeHeader(TYPE.data, 0, 1, 1), Buffer.from([i & 0xff]), others, filler); // stream 99 was never opened: dropped
  assert.ok((await heldBytes()) - before < 2 << 20); // the chunks they came in are 60 MB
  assert.not(session.ended);
  feed(encodeHeader(TYPE.window, FLAG.fin, 1, 0));
  const all = await readAll(streams[0] as Duplex);
  assert.is(all.length, 1000);
  assert.ok(all.every((byte, index) => byte === (index & 0xff)));
  await session.close();
});

s.test("the window is granted anew when the reader has taken the bytes, not when they have come", async () => {
  const streams: Duplex[] = [];
  const { session, output, feed } = server((stream) => streams.push(stream));
  feed(encodeHeader(TYPE.window, FLAG.syn, 1, 0));
  const [stream] = streams as [Duplex];
  const readable = once(
    stream.on("readable", () => {}),
    "readable",
  );
  await turn();
  const acknowledged = output.all().length;
  feed(encodeHeader(TYPE.data, 0, 1, 262_144), Buffer.alloc(262_144));
  await readable;
  await turn();
  assert.is(output.all().length, acknowledged);
  assert.is((stream.read() as Buffer).length, 262_144);
  await turn();
  assert.is(output.all().subarray(acknowledged).toString("hex"), hex("00010000 00000001 00040000"));
  await session.close();
});

s.test("a stream that is widened lets the other side send more ahead, and what it grants goes out with its data", async () => {
  let stream: Duplex | undefined;
  const { session, output, feed } = server((opened) => {
    stream = opened;
  });
  feed(encodeHeader(TYPE.window, FLAG.syn, 1, 0));
  (stream as YamuxStream).widen(1024 * 1024);
  (stream as YamuxStream).widen(1000); // fewer change nothing
  await turn();
  assert.is(output.all().toString("hex"), hex("00010002 00000001 000c0000"), "one frame with what is more than 256 KiB");
  const frame = Buffer.concat([encodeHeader(TYPE.data, 0, 1, 256 * 1024), Buffer.alloc(256 * 1024)]);
  for (let count = 0; count < 4; count++) feed(frame);
  assert.is(session.ended, false, "four of them are the window");
  const before = output.all().length;
  let bytes = 0;
  while (bytes < 256 * 1024) bytes += ((await nextChunk(stream as Duplex)) as Buffer).length;
  await turn();
  assert.is(output.all().length, before, "a quarter alone is not granted yet");
  stream?.write("ok");
  await turn();
  assert.is(output.all().subarray(before).toString("hex"), hex("00000000 00000001 00000002 6f6b 00010000 00000001 00040000"));
  feed(frame);
  feed(frame);
  assert.is(session.ended, true, "the last one was never granted");
});

s.test("a peer that passes its window ends the session with GUEST_PROTOCOL and hears why", async () => {
  const { session, output, feed } = server(() => {});
  feed(encodeHeader(TYPE.window, FLAG.syn, 1, 0));
  for (let i = 0; i < 4; i += 1) feed(encodeHeader(TYPE.data, 0, 1, 65_536), Buffer.alloc(65_536));
  assert.not(session.ended);
  feed(encodeHeader(TYPE.data, 0, 1, 1), Buffer.alloc(1));
  assert.is(codeOf(await session.closed), "GUEST_PROTOCOL");
  await session.close();
  assert.ok(output.all().toString("hex").endsWith(hex("00030000 00000000 00000001")));
});

for (const [name, frames] of [
  ["an id of the wrong side", [encodeHeader(TYPE.window, FLAG.syn, 2, 0)]],
  ["the id 0", [encodeHeader(TYPE.data, FLAG.syn, 0, 0)]],
  ["an id twice", [encodeHeader(TYPE.window, FLAG.syn, 1, 0), encodeHeader(TYPE.window, FLAG.syn, 1, 0)]],
  ["an end twice", [encodeHeader(TYPE.window, FLAG.syn | FLAG.fin, 1, 0), encodeHeader(TYPE.window, FLAG.fin, 1, 0)]],
  ["data behind its end", [encodeHeader(TYPE.window, FLAG.syn | FLAG.fin, 1, 0), encodeHeader(TYPE.data, 0, 1, 1)]],
  ["a window above 32 bits", [encodeHeader(TYPE.window, FLAG.syn, 1, 0), encodeHeader(TYPE.window, 0, 1, 0xffffffff)]],
  ["go-away for a protocol error", [encodeHeader(TYPE.goAway, 0, 0, 1)]],
] as const) {
  s.test(`a peer that sends ${name} ends the session with GUEST_PROTOCOL`, async () => {
    const { session, feed } = server(() => {});
    feed(...frames);
    assert.is(codeOf(await session.closed), "GUEST_PROTOCOL");
  });
}

s.test("a peer that pings without reading the echoes ends the session instead of filling the memory", async () => {
  const session = new YamuxSession({ role: "server", output: { write: () => new Promise(() => {}), close: () => {} } });
  const pings = Buffer.concat(Array.from({ length: 100 }, (_, index) => encodeHeader(TYPE.ping, FLAG.syn, 0, index)));
  for (let i = 0; i < 30 && !session.ended; i += 1) session.receive(pings);
  assert.ok(session.ended);
  assert.is(codeOf(await session.closed), "GUEST_PROTOCOL");
});

s.test("frames for a stream that is gone are dropped, their payload too", async () => {
  const { session, output, feed } = server((stream) => stream.destroy());
  feed(
    encodeHeader(TYPE.data, FLAG.syn, 1, 3),
    Buffer.from("abc"),
    encodeHeader(TYPE.data, 0, 1, 2),
    Buffer.from("de"),
    encodeHeader(TYPE.ping, FLAG.syn, 0, 5),
  );
  await turn();
  assert.is(output.all().toString("hex"), hex("00010008 00000001 00000000 00020002 00000000 00000005"));
  await session.close();
});

s.test("streams take turns: a small answer is not behind another stream's megabytes", async () => {
  await using pair = sessionPair();
  const order: string[] = [];
  pair.server.onStream = (stream) => {
    stream.once("data", (first: Buffer) => {
      order.push(`${String.fromCharCode(first[0] ?? 0)} begins`);
      stream.on("end", () => order.push(`${String.fromCharCode(first[0] ?? 0)} ends`));
    });
  };
  const big = pair.client.openStream();
  const small = pair.client.openStream();
  big.end(Buffer.alloc(2_000_000, "b"));
  small.end("small");
  for (const stream of [big, small]) stream.resume();
  while (order.length < 4) await pair.client.ping();
  assert.equal(order, ["b begins", "s begins", "s ends", "b ends"]);
});

s.test("close() ends both sides: the closer without a reason, the other with AGENT_LOST, streams with them", async () => {
  await using pair = sessionPair();
  const accepted = nextStream(pair.server);
  const near = pair.client.openStream();
  const far = await accepted;
  const errors = Promise.all([failed(near), failed(far)]);
  await pair.client.close();
  assert.is(await pair.client.closed, undefined);
  assert.is(codeOf(await pair.server.closed), "AGENT_LOST");
  assert.equal((await errors).map(codeOf), ["AGENT_LOST", "AGENT_LOST"]);
  assert.throws(
    () => pair.client.openStream(),
    (error: unknown) => codeOf(error) === "AGENT_LOST",
  );
  assert.is(await pair.client.ping().catch(codeOf), "AGENT_LOST");
});

s.test("an answer that had fully arrived can be read after the session has ended", async () => {
  const output = collect();
  const client = new YamuxSession({ role: "client", output });
  const stream = client.openStream();
  stream.end("q");
  await once(stream, "finish");
  client.receive(Buffer.concat([encodeHeader(TYPE.data, FLAG.ack | FLAG.fin, 1, 2), Buffer.from("ok")]));
  client.end();
  assert.is((await readAll(stream)).toString(), "ok");
});

s.test("a ping that is not answered ends at its deadline, at the caller's signal, and with the session", async () => {
  const client = new YamuxSession({ role: "client", output: collect() });
  assert.is(await client.ping({ timeoutMs: 1 }).catch(codeOf), "TIMEOUT");
  assert.is(await client.ping({ signal: AbortSignal.abort() }).catch(codeOf), "ABORTED");
  const pending = client.ping().catch(codeOf);
  client.end();
  assert.is(await pending, "AGENT_LOST");
});

s.run();
