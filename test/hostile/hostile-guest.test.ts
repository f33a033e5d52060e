import v8 from "node:v8";
import vm from "node:vm";
import { encodeHeader, FLAG, TYPE } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { connect } from "../../plugins/agent-grpc/connect.ts";
import { type ErrorCode, isTapvisorError } from "../../src/base/errors.ts";
import { quietCall } from "../../src/testing/quiet-call.ts";
import { suite } from "../support/suite.ts";
import { scriptedGuest, type Wire } from "./scripted-guest.ts";
import { END_HEADERS, field, grpcMessage, H2, h2Frame, honest, RESPONSE, responseHeaders, trailers } from "./wire.ts";

/** The whole way from a call to a serial port's socket, with a guest behind it that does not keep to any protocol. */
const s = suite("a hostile guest, through the whole client");

const INIT = { container: "c", exec: "c" };
const MIB = 2 ** 20;

v8.setFlagsFromString("--expose-gc");
const collectGarbage = vm.runInNewContext("gc") as () => void;

function outsideHeap(): number {
  return process.memoryUsage().arrayBuffers;
}

function onHeap(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

/** Makes a call, lets go of the connection, and answers how the call ended. Nothing of it may be left, whatever the guest did. */
async function outcomeOf(
  script: (wire: Wire) => void | Promise<void>,
  patienceMs = 10_000,
): Promise<{ code: ErrorCode | "ok"; text: string }> {
  await using guest = await scriptedGuest(script);
  const client = await connect(guest.target, quietCall());
  const outcome = await client.readStdout(INIT, 16, quietCall({ timeoutMs: patienceMs })).then(
    (bytes) => ({ code: "ok" as const, text: Buffer.from(bytes).toString() }),
    (error: unknown) => {
      assert.ok(isTapvisorError(error), `threw ${error}`);
      const cause = isTapvisorError(error.cause) ? ` (${error.cause.code})` : "";
      return { code: error.code, text: error.message + cause };
    },
  );
  await client.close();
  assert.equal(guest.files(), []);
  return outcome;
}

const hello = (id: number) => honest(id, Buffer.from("0a0568656c6c6f", "hex"));

s.test("an honest answer on this way is an answer, so that what follows is about the lies", async () => {
  assert.equal(await outcomeOf(({ h2, id }) => h2(hello(id))), { code: "ok", text: "hello" });
});

/** A yamux frame for the one stream that the client has. */
const data = (stream: number, length: number, bytes: number) =>
  Buffer.concat([encodeHeader(TYPE.data, 0, stream, length), Buffer.alloc(bytes)]);

const LIES: Readonly<Record<string, readonly [(wire: Wire) => void | Promise<void>, code: ErrorCode, text: RegExp]>> = {
  "a yamux frame longer than a window": [
    ({ mux, stream }) => mux(data(stream, 300_000, 100)),
    "AGENT_LOST",
    /300000 bytes.*GUEST_PROTOCOL/,
  ],
  "a yamux frame of 4 GiB": [({ mux, stream }) => mux(data(stream, 0xffff_ffff, 100)), "AGENT_LOST", /4294967295 bytes.*GUEST_PROTOCOL/],
  "a yamux version that there is not": [({ mux }) => mux(Buffer.alloc(12, 7)), "AGENT_LOST", /version 7.*GUEST_PROTOCOL/],
  "the end of a stream twice": [
    ({ mux, stream }) => mux(encodeHeader(TYPE.window, FLAG.fin, stream, 0), encodeHeader(TYPE.window, FLAG.fin, stream, 0)),
    "AGENT_LOST",
    /./,
  ],
  "a reset of the stream": [({ mux, stream }) => mux(encodeHeader(TYPE.window, FLAG.rst, stream, 0)), "AGENT_LOST", /./],
  "an HTTP/2 frame of 16 MiB": [
    ({ h2, id }) => h2(h2Frame(H2.data, 0, id, Buffer.alloc(9), 2 ** 24 - 1)),
    "AGENT_LOST",
    /16777215 bytes.*GUEST_PROTOCOL/,
  ],
  "a stream that is pushed": [
    ({ h2, id }) => h2(h2Frame(H2.push, END_HEADERS, id, Buffer.from("0000000282", "hex")), h2Frame(H2.goAway, 0, 0, Buffer.alloc(8, 2))),
    "AGENT_LOST",
    /nobody asked for.*GUEST_PROTOCOL/,
  ],
  "headers for a stream that nobody opened": [({ h2 }) => h2(responseHeaders(99)), "GUEST_PROTOCOL", /Protocol error/],
  "data before headers": [({ h2, id }) => h2(h2Frame(H2.data, 0, id, grpcMessage(Buffer.alloc(0)))), "AGENT_LOST", /./],
  "headers that cannot be unpacked": [({ h2, id }) => h2(h2Frame(H2.headers, END_HEADERS, id, Buffer.alloc(20, 0xff))), "AGENT_LOST", /./],
  "a gRPC message of 4 GiB": [
    ({ h2, id }) => h2(responseHeaders(id), h2Frame(H2.data, 0, id, grpcMessage(Buffer.alloc(9), 0xffff_ffff))),
    "GUEST_PROTOCOL",
    /larger than max/,
  ],
  "a gRPC message that ends early": [
    ({ h2, id }) => h2(responseHeaders(id), h2Frame(H2.data, 0, id, grpcMessage(Buffer.alloc(9), 50)), trailers(id)),
    "GUEST_PROTOCOL",
    /No message received/,
  ],
};
for (const [what, [script, code, text]] of Object.entries(LIES)) {
  s.test(`${what} is ${code}`, async () => {
    const outcome = await outcomeOf(script);
    assert.is(outcome.code, code, outcome.text);
    assert.match(outcome.text, text);
  });
}

const SILENCES: Readonly<Record<string, (wire: Wire) => void | Promise<void>>> = {
  nothing: () => {},
  "half a yamux header": ({ mux, stream }) => mux(encodeHeader(TYPE.data, 0, stream, 100).subarray(0, 6)),
  "half a yamux payload": ({ mux, stream }) => mux(data(stream, 100, 0), h2Frame(200, 0, 0, Buffer.alloc(41))),
  "half an HTTP/2 header": ({ h2, id }) => h2(responseHeaders(id).subarray(0, 4)),
  "a frame that announces more than it holds": ({ h2, id }) => h2(responseHeaders(id), h2Frame(H2.data, 0, id, Buffer.alloc(10), 16_384)),
  "headers without an end": ({ h2, id }) => h2(h2Frame(H2.headers, 0, id, RESPONSE)),
  "half a message": ({ h2, id }) => h2(responseHeaders(id), h2Frame(H2.data, 0, id, grpcMessage(Buffer.alloc(2), 9))),
};
for (const [what, script] of Object.entries(SILENCES)) {
  s.test(`${what} and then silence ends with the caller's patience, and the connection can be closed`, async () => {
    const begun = performance.now();
    const { code, text } = await outcomeOf(script, 200);
    assert.is(code, "ABORTED", text);
    assert.ok(performance.now() - begun < 5_000);
  });
}

s.test("a second answer to the same call changes nothing, and a call after it ends", async () => {
  await using guest = await scriptedGuest(({ h2, id }) => h2(hello(id), honest(id, Buffer.from("0a03627965", "hex"))));
  const client = await connect(guest.target, quietCall());
  assert.is(Buffer.from(await client.readStdout(INIT, 16, quietCall())).toString(), "hello");
  const second = await client.readStdout(INIT, 16, quietCall()).catch((error) => error);
  assert.ok(isTapvisorError(second) ? second.code === "AGENT_LOST" : Buffer.from(second).toString() === "hello", String(second));
  await client.close();
});

s.test("streams that a guest opens are refused, and calls go on", async () => {
  const { code, text } = await outcomeOf(async ({ mux, h2, id }) => {
    for (let own = 2; own < 400; own += 2) {
      await mux(encodeHeader(TYPE.window, FLAG.syn, own, 0), encodeHeader(TYPE.data, 0, own, 1000), Buffer.alloc(1000));
    }
    await h2(hello(id));
  });
  assert.equal([code, text], ["ok", "hello"]);
});

for (const [layer, goAway] of [
  ["yamux", ({ mux }: Wire) => mux(encodeHeader(TYPE.goAway, 0, 0, 0))],
  ["HTTP/2", ({ h2, id }: Wire) => h2(h2Frame(H2.goAway, 0, 0, Buffer.from(`0000000${id}00000000`, "hex")))],
] as const) {
  s.test(`a guest that says go-away in ${layer} and goes on may still answer`, async () => {
    const { code, text } = await outcomeOf(async (wire) => {
      await goAway(wire);
      await wire.h2(hello(wire.id));
    });
    assert.equal([code, text], ["ok", "hello"]);
  });
}

s.test("an error text of control characters is shown, and one beyond all measure is refused", async () => {
  const failing =
    (size: number) =>
    ({ h2, id }: Wire) => {
      const message = field("grpc-message", "%1B]52;c;aGk=%07%E2%80%AE".repeat(size));
      return h2(h2Frame(H2.headers, END_HEADERS | 1, id, Buffer.concat([RESPONSE, field("grpc-status", "13"), message])));
    };
  const small = await outcomeOf(failing(1));
  assert.is(small.code, "AGENT_FAILED");
  assert.match(small.text, "\\u{1b}]52;c;aGk=\\u{7}\\u{202e}");
  for (const size of [100, 600]) {
    const { code, text } = await outcomeOf(failing(size));
    assert.ok(["AGENT_FAILED", "AGENT_LOST"].includes(code), text);
    assert.ok(text.length < 40_000);
    assert.not.match(text, /[\p{Cc}\p{Bidi_Control}]/u);
  }
});

/** What one frame, over and over, does: the script ends it after so much, or the host does before. */
const FLOODS: Readonly<Record<string, (wire: Wire) => readonly ["mux" | "h2", Buffer, most: number]>> = {
  "yamux data for streams that nobody opened": () => [
    "mux",
    Buffer.concat([encodeHeader(TYPE.data, 0, 77, 200_000), Buffer.alloc(200_000)]),
    48 * MIB,
  ],
  "yamux pings": () => ["mux", encodeHeader(TYPE.ping, FLAG.syn, 0, 1), 2 * MIB],
  "yamux echoes": () => ["mux", encodeHeader(TYPE.ping, FLAG.ack, 0, 1), 4 * MIB],
  "yamux window updates": ({ stream }) => ["mux", encodeHeader(TYPE.window, 0, stream, 0), 4 * MIB],
  "yamux go-aways": () => ["mux", encodeHeader(TYPE.goAway, 0, 0, 0), 4 * MIB],
  "resets of yamux streams that nobody opened": () => ["mux", encodeHeader(TYPE.window, FLAG.rst, 77, 0), 4 * MIB],
  "HTTP/2 pings": () => ["h2", h2Frame(H2.ping, 0, 0, Buffer.alloc(8)), 3 * MIB],
  "HTTP/2 settings": () => ["h2", h2Frame(H2.settings, 0, 0, Buffer.from("000400100000", "hex")), 3 * MIB],
  "HTTP/2 echoes": () => ["h2", h2Frame(H2.ping, 1, 0, Buffer.alloc(8)), 3 * MIB],
  "HTTP/2 window updates": () => ["h2", h2Frame(H2.window, 0, 0, Buffer.from("00000001", "hex")), 3 * MIB],
  "HTTP/2 resets": () => ["h2", h2Frame(H2.rst, 0, 1, Buffer.alloc(4)), 3 * MIB],
  "HTTP/2 frames of no known type": () => ["h2", h2Frame(200, 0, 0, Buffer.alloc(16_384)), 32 * MIB],
  "empty data": ({ id }) => ["h2", h2Frame(H2.data, 0, id), 3 * MIB],
  "headers without an end": ({ id }) => ["h2", h2Frame(H2.continuation, 0, id, field("x", "y".repeat(200))), 3 * MIB],
  "responses that announce another": ({ id }) => [
    "h2",
    h2Frame(H2.headers, END_HEADERS, id, Buffer.concat([field(":status", "103"), field("x", "y".repeat(500))])),
    8 * MIB,
  ],
};
for (const [what, flood] of Object.entries(FLOODS)) {
  s.test(
    `a flood of ${what} costs no memory: the call ends in a typed error, or is answered behind it`,
    async () => {
      let most = 0;
      const [outsideBefore, heapBefore] = [outsideHeap(), onHeap()];
      const { code, text } = await outcomeOf(async (wire) => {
        const [layer, frame, bytes] = flood(wire);
        if (what === "empty data") await wire.h2(responseHeaders(wire.id));
        if (what === "headers without an end") await wire.h2(h2Frame(H2.headers, 0, wire.id, RESPONSE));
        const block = Buffer.concat(Array<Buffer>(Math.max(1, Math.floor(200_000 / frame.length))).fill(frame));
        for (let sent = 0; sent < bytes && !wire.gone(); sent += block.length) {
          await wire[layer](block);
          await new Promise((resolve) => setImmediate(resolve));
          if (outsideHeap() - outsideBefore > Math.max(most, 8 * MIB)) collectGarbage();
          most = Math.max(most, outsideHeap() - outsideBefore);
        }
        const [head, ...rest] = [responseHeaders(wire.id), hello(wire.id).subarray(responseHeaders(wire.id).length)];
        await (what === "empty data" ? wire.h2(...rest) : wire.h2(head as Buffer, ...rest));
      });
      assert.ok(["ok", "AGENT_LOST", "AGENT_FAILED", "GUEST_PROTOCOL"].includes(code), `${code} ${text}`);
      assert.ok(most < 24 * MIB, `${Math.round(most / MIB)} MiB of buffers`);
      assert.ok(onHeap() - heapBefore < 8 * MIB, `${Math.round((onHeap() - heapBefore) / MIB)} MiB on the heap`);
    },
    { timeoutMs: 60_000 },
  );
}

s.test(
  "a connection that breaks at any byte of a conversation ends it with AGENT_LOST, and leaves nothing",
  async () => {
    await using guest = await scriptedGuest(({ h2, id }) => h2(hello(id)));
    const converse = async () => {
      const client = await connect(guest.target, quietCall({ timeoutMs: 20_000 }));
      try {
        return Buffer.from(await client.readStdout(INIT, 16, quietCall())).toString();
      } finally {
        await client.close();
      }
    };
    assert.is(await converse(), "hello");
    const whole = guest.sent();
    assert.ok(whole > 300);
    for (let cut = 1; cut < whole; cut += 1) {
      guest.breakAfter(cut);
      const outcome = await converse().catch((error: unknown) => (isTapvisorError(error) ? error.code : String(error)));
      // The last bytes are of the end of the conversation, which may be over before them.
      assert.ok(outcome === "AGENT_LOST" || (outcome === "hello" && cut > whole - 80), `cut at ${cut} of ${whole}: ${outcome}`);
      assert.equal(guest.files(), [], `cut at ${cut}`);
    }
  },
  { timeoutMs: 90_000 },
);

s.run();
