import { type Duplex, duplexPair } from "node:stream";
import { encodeAcknowledgement, encodeAnswer, encodeHeader, FLAG, TYPE, WINDOW_BYTES, yamuxOver } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { dataStreams } from "../../../../plugins/agent-grpc/data-stream/client.ts";
import { DATA_WINDOW_BYTES } from "../../../../plugins/agent-grpc/limits.ts";
import type { Link } from "../../../../plugins/agent-grpc/link.ts";
import type { GuestOutput } from "../../../../src/contracts/agent-streams.ts";
import { resetByPeer } from "../../../../src/protocol/yamux/errors.ts";
import { quietCall } from "../../../../src/testing/quiet-call.ts";
import { rejects } from "../../../support/rejects.ts";
import { suite } from "../../../support/suite.ts";
import { linkOver } from "./stream-world.ts";

const s = suite("data streams: a hostile guest");
const C = { container: "c", exec: "c" } as const;
const OK = encodeAnswer({ ok: true });
const soon = () => AbortSignal.timeout(10_000);

/** The client's streams with a guest whose end of the one stream is the test's. */
function hostile() {
  const [near, far] = duplexPair() as [Duplex, Duplex];
  for (const end of [near, far]) end.on("error", () => {});
  const link = linkOver({ openStream: () => near });
  return { streams: clientOf(link), near, far };
}

function clientOf(link: Link) {
  const { openOutput, openInput } = dataStreams(link, {
    grpc_version: "",
    agent_version: "",
    tapvisor_data_streams: 1,
    tapvisor_renewal: 0,
  });
  if (!openOutput || !openInput) throw new Error("not offered");
  return { output: () => openOutput(C, "stdout", quietCall()), input: () => openInput(C, quietCall()) };
}

function need<T>(opened: T | undefined): T {
  if (opened === undefined) throw new Error("no stream");
  return opened;
}

s.test("a guest that does not offer data streams, or others, is not asked for one", () => {
  for (const version of [0, 2, 4_294_967_295]) {
    const offered = dataStreams({} as Link, { grpc_version: "", agent_version: "", tapvisor_data_streams: version, tapvisor_renewal: 0 });
    assert.equal(Object.keys(offered), []);
  }
  assert.equal(Object.keys(dataStreams({} as Link, undefined)), []);
});

s.test("garbage in place of the answer, an answer without end, and none at all are GUEST_PROTOCOL", async () => {
  for (const bytes of ["\x1b[31mboo\n", "{}\n", '{"ok":"yes"}\n', '{"status":"x y","text":""}\n', "x".repeat(10_000), ""]) {
    const { streams, far } = hostile();
    far.end(bytes);
    const error = await rejects(streams.output(), "GUEST_PROTOCOL");
    assert.not.match(error.message, "\x1b");
  }
});

s.test("a refusal is AGENT_FAILED with its status, and its text is bounded and escaped", async () => {
  const { streams, far } = hostile();
  far.write(encodeAnswer({ status: "NOT_FOUND", text: `\x1b[2J${"x".repeat(7000)}` }));
  const error = await rejects(streams.output(), "AGENT_FAILED");
  assert.is(error.data.status, "NOT_FOUND");
  assert.not.match(error.message, "\x1b");
  assert.ok(error.message.length < 5000);
});

s.test("a guest that answers nothing keeps the caller until it gives up, and its stream is let go", async () => {
  const { near } = hostile();
  const link = linkOver({ openStream: () => near });
  const { openOutput } = dataStreams(link, { grpc_version: "", agent_version: "", tapvisor_data_streams: 1, tapvisor_renewal: 0 });
  await rejects(openOutput?.(C, "stdout", { ...quietCall(), signal: AbortSignal.timeout(50) }) ?? Promise.resolve(), "ABORTED");
  assert.ok(near.destroyed);
});

s.test("output that comes together with the answer and the end is read, however it is split", async () => {
  const frame = (payload: Buffer, flags = 0) => Buffer.concat([encodeHeader(TYPE.data, flags, 1, payload.length), payload]);
  const end = encodeHeader(TYPE.window, FLAG.fin, 1, 0);
  for (const frames of [
    Buffer.concat([frame(OK, FLAG.ack), frame(Buffer.from("all of it")), end]),
    Buffer.concat([frame(Buffer.concat([OK, Buffer.from("all of it")]), FLAG.ack), end]),
  ]) {
    for (let at = 1; at <= frames.length; at++) {
      const [near, far] = duplexPair() as [Duplex, Duplex];
      far.resume();
      const session = yamuxOver(near, { role: "client" });
      const opening = clientOf(linkOver(session)).output();
      far.write(frames.subarray(0, at));
      await new Promise(setImmediate);
      far.write(frames.subarray(at));
      const output = need(await opening);
      const seen: Uint8Array[] = [];
      for (let chunk = await output.read(soon()); chunk.length > 0; chunk = await output.read(soon())) seen.push(chunk);
      assert.is(Buffer.concat(seen).toString(), "all of it", `split at ${at}`);
      output.close();
      await session.close();
    }
  }
});

s.test("an acknowledgement that comes with the answer counts", async () => {
  const { streams, far } = hostile();
  far.write(Buffer.concat([OK, encodeAcknowledgement(3)]));
  const input = need(await streams.input());
  await rejects(input.write(Buffer.from("abc"), soon()), "GUEST_PROTOCOL"); // of what has not been written
});

s.test("a stream that is reset in the middle fails the read, and what came before it is read", async () => {
  const { streams, far, near } = hostile();
  far.write(Buffer.concat([OK, Buffer.from("half")]));
  const output = need(await streams.output());
  assert.is(Buffer.from(await output.read(soon())).toString(), "half");
  const waiting = output.read(soon());
  near.destroy(resetByPeer(1));
  await rejects(waiting, "AGENT_FAILED");
  await rejects(output.read(soon()), "AGENT_FAILED");
  output.taken(4);
  output.close();
});

s.test("output that never comes waits for its signal, and a closed stream is let go although the guest never ends it", async () => {
  const { streams, far, near } = hostile();
  far.write(OK);
  const output = need(await streams.output());
  await rejects(output.read(AbortSignal.timeout(30)), "ABORTED");
  output.close();
  await new Promise((resolve) => near.once("close", resolve));
});

s.test("acknowledgements of more than was written, and of nothing, are GUEST_PROTOCOL", async () => {
  for (const lie of [encodeAcknowledgement(4), Buffer.alloc(4)]) {
    const { streams, far } = hostile();
    far.write(OK);
    const input = need(await streams.input());
    const writing = input.write(Buffer.from("abc"), soon());
    far.write(lie);
    await rejects(writing, "GUEST_PROTOCOL");
    await rejects(input.write(Buffer.from("abc"), soon()), "GUEST_PROTOCOL");
    input.close();
  }
});

s.test("a guest that takes nothing keeps a write waiting until its signal fires; one that ends fails it", async () => {
  const { streams, far } = hostile();
  far.write(OK);
  const input = need(await streams.input());
  await rejects(input.write(Buffer.alloc(1000), AbortSignal.timeout(30)), "ABORTED");
  const writing = input.write(Buffer.alloc(1000), soon());
  far.end();
  const error = await rejects(writing, "AGENT_FAILED");
  assert.is(error.data.status, "FAILED_PRECONDITION");
});

s.test("a flood is taken up to the window and not beyond; the connection ends with GUEST_PROTOCOL", async () => {
  const [near, far] = duplexPair() as [Duplex, Duplex];
  far.resume();
  const session = yamuxOver(near, { role: "client" });
  const opening = clientOf(linkOver(session)).output();
  const data = (payload: Buffer, flags = 0) => far.write(Buffer.concat([encodeHeader(TYPE.data, flags, 1, payload.length), payload]));
  data(OK, FLAG.ack);
  const output: GuestOutput = need(await opening);
  const block = Buffer.alloc(WINDOW_BYTES / 2);
  let sent = OK.length;
  for (; sent + block.length <= DATA_WINDOW_BYTES; sent += block.length) data(block);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.is(session.ended, false, "the window may be filled");
  data(block);
  assert.match(String(await session.closed), "more than stream 1 may carry");
  const rest = async () => {
    for (let bytes = 0; bytes <= DATA_WINDOW_BYTES; bytes += (await output.read(soon())).length);
  };
  await rejects(rest(), "AGENT_LOST");
});

s.test("without room for another stream there is none, and the caller does without", async () => {
  const { openOutput } = dataStreams(linkOver(yamuxOver(duplexPair()[0] as Duplex, { role: "client", maxStreams: 0 })), {
    grpc_version: "",
    agent_version: "",
    tapvisor_data_streams: 1,
    tapvisor_renewal: 0,
  });
  assert.is(await openOutput?.(C, "stdout", quietCall()), undefined);
});

s.run();
