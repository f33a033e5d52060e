import * as assert from "uvu/assert";
import { Http2Guard } from "../../../plugins/agent-grpc/http2-guard.ts";
import { suite } from "../../support/suite.ts";

const s = suite("agent-grpc http2 guard");

const TYPE = { data: 0, headers: 1, settings: 4, pushPromise: 5, continuation: 9, unknown: 200 } as const;

function frame(type: number, length: number): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(length, 0, 3);
  header.writeUInt8(type, 3);
  return Buffer.concat([header, Buffer.alloc(Math.min(length, 70_000), 5)]);
}

/** What the guard says of these frames, cut into pieces of `size`. */
function said(frames: readonly Buffer[], size = 1_000_000): string | undefined {
  const guard = new Http2Guard();
  const bytes = Buffer.concat(frames);
  for (let at = 0; at < bytes.length; at += size) {
    const wrong = guard.received(bytes.subarray(at, at + size));
    if (wrong) return `${wrong.code} ${wrong.data.what}`;
  }
  return undefined;
}

s.test("what a gRPC server sends passes, payloads that look like frames too", () => {
  const answer = [
    frame(TYPE.settings, 0),
    frame(TYPE.headers, 90),
    frame(TYPE.data, 16_384),
    frame(TYPE.data, 0),
    frame(TYPE.headers, 16_384),
  ];
  const more = [frame(TYPE.continuation, 16_384), frame(TYPE.unknown, 12), frame(TYPE.headers, 16_384)];
  for (const size of [1, 8, 9, 10, 1000, 1_000_000]) assert.is(said([...answer, ...more], size), undefined);
});

for (const [name, frames, what] of [
  ["a pushed stream", [frame(TYPE.data, 3), frame(TYPE.pushPromise, 20)], "a stream that nobody asked for"],
  ["a frame longer than was agreed", [frame(TYPE.data, 16_385)], "an HTTP/2 frame of 16385 bytes, wanted at most 16384"],
  ["a length of 16 MiB", [frame(TYPE.unknown, 2 ** 24 - 1)], "an HTTP/2 frame of 16777215 bytes, wanted at most 16384"],
  [
    "headers without an end",
    [frame(TYPE.headers, 16_384), ...Array<Buffer>(4).fill(frame(TYPE.continuation, 16_384))],
    "headers of 81920 bytes, wanted at most 65536",
  ],
] as const) {
  s.test(`${name} is GUEST_PROTOCOL, however it is cut`, () => {
    for (const size of [1, 5, 9, 1_000_000]) assert.is(said(frames, size), `GUEST_PROTOCOL ${what}`);
  });
}

s.test("a client that gives up because of an error says so, and one that ends in peace does not", () => {
  const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  const goAway = (code: number) =>
    Buffer.concat([Buffer.from("000009070000000000000000010000", "hex"), Buffer.of(0, code), Buffer.from("x")]);
  const sent = (frames: readonly Buffer[], size: number) => {
    const guard = new Http2Guard();
    const bytes = Buffer.concat([preface, ...frames]);
    for (let at = 0; at < bytes.length; at += size) {
      const wrong = guard.sent(bytes.subarray(at, at + size));
      if (wrong) return wrong.data.what;
    }
    return undefined;
  };
  for (const size of [1, 10, 17, 1000]) {
    assert.is(sent([frame(TYPE.headers, 30), goAway(0), frame(TYPE.data, 100), goAway(0)], size), undefined);
    assert.is(sent([frame(TYPE.headers, 30), goAway(0), goAway(11)], size), "HTTP/2 with an error, of code 11");
  }
});

s.run();
