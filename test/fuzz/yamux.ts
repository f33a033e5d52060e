import type { Duplex } from "node:stream";
import fc from "fast-check";
import { isTapvisorError } from "tapvisor/plugin";
import {
  AnswerScanner,
  acceptSessions,
  announcement,
  answer,
  encodeHeader,
  FLAG,
  FrameDecoder,
  TYPE,
  WINDOW_BYTES,
  YamuxSession,
} from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { mutated, split, splits } from "./support/bytes.ts";
import type { Property } from "./support/property.ts";

const ZEROS = Buffer.alloc(WINDOW_BYTES);
const HEADER_BYTES = 12;
const MAX_STREAMS = 4;
/** What may wait for a peer that does not read: 1024 answers and the one that is too many, and a frame of each stream. */
const MOST_QUEUED = (1025 + 2 * MAX_STREAMS) * HEADER_BYTES;

const ids = fc.oneof({ weight: 9, arbitrary: fc.nat(12) }, { weight: 1, arbitrary: fc.nat(0xffffffff) });
const flags = fc.oneof(
  { weight: 5, arbitrary: fc.constant(0) },
  { weight: 5, arbitrary: fc.nat(15) },
  { weight: 1, arbitrary: fc.nat(0xffff) },
);
const control = fc
  .tuple(fc.constantFrom(TYPE.window, TYPE.ping, TYPE.goAway), flags, ids, fc.oneof(fc.nat(3), fc.nat(0xffffffff)))
  .map(([type, flag, id, length]) => encodeHeader(type, flag, id, length));
const data = fc
  .tuple(flags, ids, fc.oneof(fc.nat(40), fc.constantFrom(1000, 65_536, WINDOW_BYTES)))
  .map(([flag, id, length]) => Buffer.concat([encodeHeader(TYPE.data, flag, id, length), ZEROS.subarray(0, length)]));
const opening = fc.integer({ min: 1, max: 12 }).map((id) => encodeHeader(TYPE.window, FLAG.syn, id, 0));
/** A stream that sends more and more. */
const flood = fc
  .tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 }))
  .map(([id, times]) => [
    encodeHeader(TYPE.window, FLAG.syn, id, 0),
    ...Array<Buffer>(times).fill(Buffer.concat([encodeHeader(TYPE.data, 0, id, 100_000), ZEROS.subarray(0, 100_000)])),
  ]);
const pings = fc
  .constantFrom(10, 900, 5000)
  .map((count) => [Buffer.concat(Array<Buffer>(count).fill(encodeHeader(TYPE.ping, FLAG.syn, 0, 1)))]);
/** One side's streams, in order. */
const openings = fc
  .tuple(fc.constantFrom(1, 2), fc.nat(8))
  .map(([first, count]) => Array.from({ length: count }, (_, index) => encodeHeader(TYPE.window, FLAG.syn, first + 2 * index, 0)));
const whole = fc.array(fc.oneof(control, data, opening).map((one) => [one])).map((all) => all.flat());
const conversation = fc
  .array(
    fc.oneof(
      { weight: 6, arbitrary: whole },
      { weight: 2, arbitrary: flood },
      { weight: 2, arbitrary: openings },
      { weight: 1, arbitrary: pings },
    ),
    { maxLength: 4 },
  )
  .map((parts) => Buffer.concat(parts.flat()));
const hostile = fc.oneof(
  { weight: 4, arbitrary: conversation },
  { weight: 3, arbitrary: mutated(conversation) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) },
);

const turns = async (count: number) => {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

/** What a decoder makes of these pieces, payloads joined: how they were cut must not show. */
function decoded(pieces: readonly Buffer[]): string[] {
  const lines: string[] = [];
  let payload = 0;
  const decoder = new FrameDecoder({
    header: (...header) => {
      lines.push(header.join(" "));
      payload = 0;
      return true;
    },
    payload: (bytes) => {
      assert.ok(bytes.length > 0);
      payload += bytes.length;
      assert.ok(payload <= WINDOW_BYTES);
      return true;
    },
    payloadEnd: () => lines.push(`end ${payload}`) > 0,
    violation: (error) => {
      assert.is(error.code, "GUEST_PROTOCOL");
      lines.push(error.data.what);
    },
  });
  for (const piece of pieces) decoder.push(piece);
  return lines;
}

/** What an unread stream holds, by reading it: nobody sends any more. */
async function heldBy(stream: Duplex): Promise<number> {
  let bytes = 0;
  stream.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
  });
  await turns(3);
  return bytes;
}

const pattern = fc
  .tuple(fc.nat(7000), fc.nat(255))
  .map(([length, from]) => Buffer.from(Array.from({ length }, (_, index) => from + index)));
const script = fc.array(fc.oneof(fc.uint8Array({ maxLength: 400 }), pattern), { minLength: 1, maxLength: 5 });

export const yamux: readonly Property[] = [
  {
    name: "yamux: any bytes decode to the same frames however they are cut, within one window, or to one GUEST_PROTOCOL",
    runs: 1500,
    make: () => fc.property(hostile, splits, (bytes, sizes) => assert.equal(decoded(split(bytes, sizes)), decoded([bytes]))),
  },
  {
    name: "yamux: whatever a peer sends, a session holds one window a stream and no more streams than allowed, and ends in a typed error",
    runs: 700,
    make: () =>
      fc.asyncProperty(hostile, splits, fc.constantFrom("client" as const, "server" as const), async (bytes, sizes, role) => {
        const session = new YamuxSession({ role, output: { write: async () => {}, close: () => {} }, maxStreams: MAX_STREAMS });
        const streams: Duplex[] = [session.openStream()];
        session.onStream = (stream) => void streams.push(stream);
        for (const piece of split(bytes, sizes)) {
          session.receive(piece);
          assert.ok(streams.filter((stream) => !stream.destroyed).length <= MAX_STREAMS);
        }
        await turns(1);
        const violated = session.ended;
        const held = await Promise.all(streams.filter((stream) => !stream.destroyed).map(heldBy));
        for (const each of held) assert.ok(each <= WINDOW_BYTES, `${each} bytes of one stream`);
        session.end();
        const reason = await session.closed;
        assert.is(isTapvisorError(reason) && reason.code, violated ? "GUEST_PROTOCOL" : "AGENT_LOST");
        await turns(1);
        for (const stream of streams) assert.ok(stream.destroyed || stream.readableEnded);
      }),
  },
  {
    name: "yamux: a peer that does not read has a bounded number of answers wait for it",
    runs: 300,
    make: () =>
      fc.asyncProperty(hostile, async (bytes) => {
        let release: () => void = () => {};
        const held = new Promise<void>((resolve) => {
          release = resolve;
        });
        let most = 0;
        const write = (frames: readonly Buffer[]) => {
          most = Math.max(
            most,
            frames.reduce((sum, frame) => sum + frame.length, 0),
          );
          return held;
        };
        const session = new YamuxSession({ role: "server", output: { write, close: () => {} }, maxStreams: MAX_STREAMS });
        session.onStream = (stream) => void stream.resume();
        session.openStream();
        await turns(1); // the first write is under way, and does not end
        session.receive(bytes);
        release();
        await turns(3);
        assert.ok(most <= MOST_QUEUED, `${most} bytes in one write`);
        session.end();
        await session.closed;
      }),
  },
  {
    name: "yamux: a valid conversation comes out as it was, however its streams are mixed and its bytes are cut",
    runs: 500,
    make: () =>
      fc.asyncProperty(
        fc.array(script, { minLength: 1, maxLength: 5 }),
        fc.infiniteStream(fc.nat(4)),
        splits,
        fc.boolean(),
        async (scripts, order, sizes, late) => {
          const left = scripts.map((payloads, index) => {
            const id = index * 2 + 1;
            const frames = payloads.map((payload) => Buffer.concat([encodeHeader(TYPE.data, 0, id, payload.length), payload]));
            return [encodeHeader(TYPE.window, FLAG.syn, id, 0), ...frames, encodeHeader(TYPE.window, FLAG.fin, id, 0)];
          });
          const opened = left.flatMap(([first]) => first ?? []); // a peer's streams open in the order of their ids
          const mixed: Buffer[] = [];
          for (const frames of left) frames.shift();
          while (left.some((frames) => frames.length > 0)) {
            const busy = left.filter((frames) => frames.length > 0);
            mixed.push(busy[(order.next().value ?? 0) % busy.length]?.shift() as Buffer);
          }
          const session = new YamuxSession({ role: "server", output: { write: async () => {}, close: () => {} } });
          const got: Buffer[][] = [];
          const readers: (() => unknown)[] = [];
          let ends = 0;
          session.onStream = (stream) => {
            const chunks: Buffer[] = [];
            got.push(chunks);
            const read = () => stream.on("data", (chunk: Buffer) => chunks.push(Buffer.from(chunk)));
            if (late) readers.push(read);
            else read();
            stream.on("end", () => {
              ends += 1;
            });
          };
          for (const piece of split(Buffer.concat([...opened, ...mixed]), sizes)) session.receive(piece);
          for (const read of readers) read();
          await turns(3);
          assert.not(session.ended);
          assert.is(ends, scripts.length);
          for (const [index, payloads] of scripts.entries()) assert.ok(Buffer.concat(got[index] ?? []).equals(Buffer.concat(payloads)));
          session.end();
        },
      ),
  },
  {
    name: "yamux: a host takes only the four echoes of its own nonce for an answer, and loses no byte behind them",
    runs: 1000,
    make: () => {
      const nonce = fc.uniqueArray(fc.nat(0x7fffffff), { minLength: 4, maxLength: 4 });
      return fc.property(nonce, fc.uint8Array({ maxLength: 60 }), fc.uint8Array({ maxLength: 60 }), splits, (own, stale, behind, sizes) => {
        const echoes = own.map((value) => encodeHeader(TYPE.ping, FLAG.ack, 0, value));
        const bytes = Buffer.concat([stale, answer(own), behind]);
        const scanner = new AnswerScanner(own);
        const pieces = split(bytes, sizes);
        let rest: Buffer | undefined;
        while (!rest && pieces.length > 0) rest = scanner.push(pieces.shift() as Buffer);
        assert.ok(rest && Buffer.concat([rest, ...pieces]).equals(Buffer.from(behind)));
        const lacking = new AnswerScanner(own);
        const some = echoes.filter((echo) => !echo.equals(echoes[0] as Buffer));
        assert.is(lacking.push(Buffer.concat([...some, ...some])), undefined);
      });
    },
  },
  {
    name: "yamux: whatever a host writes to the guest's port, the guest goes on serving the next session",
    runs: 400,
    make: () =>
      fc.asyncProperty(mutated(fc.constant(announcement([1, 2, 3, 4]))), hostile, splits, async (begin, bytes, sizes) => {
        const last = [5, 6, 7, 8];
        let written = Buffer.alloc(0);
        let sessions = 0;
        const read = async function* () {
          yield* split(Buffer.concat([begin, bytes]), sizes);
          yield announcement(last);
          await turns(2);
        };
        const write = async (frames: readonly Buffer[]) => {
          written = Buffer.concat([written, ...frames]);
        };
        await acceptSessions({ read, write }, (session) => {
          sessions += 1;
          session.onStream = (stream) => void stream.resume();
        });
        assert.ok(sessions >= 1);
        // A foreign client, which had streams before, is not interrupted by what may be a payload of its own.
        const foreign = !written.includes(answer(last));
        if (foreign) assert.not(begin.subarray(0, 96).equals(announcement([1, 2, 3, 4])));
      }),
  },
];
