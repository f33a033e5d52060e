import { randomBytes } from "node:crypto";
import fc from "fast-check";
import {
  ANNOUNCEMENT_BYTES,
  AnnouncementScanner,
  AnswerScanner,
  announcement,
  answer,
  encodeHeader,
  FLAG,
  FrameDecoder,
  type Nonce,
  newNonce,
  TYPE,
  YamuxSession,
} from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { collect, turn } from "./support/pipes.ts";

const s = suite("yamux resynchronisation");
const MARK = announcement([1, 2, 3, 4]).subarray(0, 36);

/** What a guest's scanner made of these bytes; `deaf` is a session in which marks do not count. */
function scan(pieces: readonly Uint8Array[], deaf = false) {
  const passed: Buffer[] = [];
  const found: Nonce[] = [];
  const scanner = new AnnouncementScanner({
    pass: (bytes) => passed.push(Buffer.from(bytes)),
    marked: () => !deaf,
    announced: (nonce) => found.push(nonce),
  });
  for (const piece of pieces) scanner.push(Buffer.from(piece));
  return { passed: Buffer.concat(passed), found };
}

function split(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += pieces[pieces.length - 1]?.length ?? 1) {
    pieces.push(bytes.subarray(at, at + (sizes[pieces.length % sizes.length] ?? 1)));
  }
  return pieces;
}

const sizes = fc.array(fc.integer({ min: 1, max: 120 }), { minLength: 1, maxLength: 6 });

s.test("an announcement is eight pings that any yamux server understands, and its answer their echoes", () => {
  const nonce = newNonce();
  const pings: number[] = [];
  const decoder = new FrameDecoder({
    header: (type, flags, id, length) => {
      assert.equal([type, flags, id], [TYPE.ping, FLAG.syn, 0]);
      return pings.push(length) > 0;
    },
    payload: () => false,
    payloadEnd: () => false,
    violation: (error) => assert.unreachable(error.message),
  });
  decoder.push(announcement(nonce));
  assert.is(pings.length * 12, ANNOUNCEMENT_BYTES);
  assert.equal(pings.slice(3, 7), [...nonce]);
  assert.ok(nonce.every((value) => value <= 0x7fffffff));
  assert.equal(answer(nonce), Buffer.concat(nonce.map((value) => encodeHeader(TYPE.ping, FLAG.ack, 0, value))));
});

s.test("the guest finds an announcement behind any bytes, however split, and passes on all that came before it", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ maxLength: 60 }), sizes, (before, after, cuts) => {
      const nonce = newNonce();
      const { passed, found } = scan(split(Buffer.concat([before, announcement(nonce), after]), cuts));
      assert.equal(found, [nonce]);
      // a piece of the mark may have been passed before it could be recognised; the session that got it is over
      const lead = passed.subarray(0, passed.length - after.length);
      assert.ok(lead.subarray(0, before.length).equals(before));
      assert.ok(
        lead.length - before.length < MARK.length && MARK.subarray(0, lead.length - before.length).equals(lead.subarray(before.length)),
      );
      assert.ok(passed.subarray(lead.length).equals(after));
    }),
  );
});

s.test("an announcement cut short at any byte does not hide the next one, and is not taken for one", () => {
  for (let cut = 0; cut < ANNOUNCEMENT_BYTES; cut += 1) {
    for (const sizesOfOne of [[1000], [1], [7], [cut || 1, 1000]]) {
      const [first, second] = [newNonce(), newNonce()];
      const bytes = Buffer.concat([
        Buffer.from("old frame"),
        announcement(first).subarray(0, cut),
        announcement(second),
        Buffer.from("next"),
      ]);
      const { passed, found } = scan(split(bytes, sizesOfOne));
      assert.equal(found, [second], `cut at ${cut}`);
      assert.ok(passed.toString("latin1").endsWith("next"));
    }
  }
});

s.test("a mark that does not count is passed on unchanged", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 50 }), sizes, (around, cuts) => {
      const bytes = Buffer.concat([around, announcement(newNonce()), around]);
      const { passed, found } = scan(split(bytes, cuts), true);
      assert.equal(found, []);
      assert.ok(passed.equals(bytes));
    }),
  );
});

s.test("the host discards everything until its four echoes have come, in any order and however split", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 150 }),
      fc.uint8Array({ maxLength: 30 }),
      fc.boolean(),
      sizes,
      (stale, behind, reversed, cuts) => {
        const nonce = newNonce();
        const echoes = answer(reversed ? [...nonce].reverse() : nonce);
        const scanner = new AnswerScanner(nonce);
        const others = answer(newNonce());
        const out: Buffer[] = [];
        let synced = false;
        for (const piece of split(Buffer.concat([stale, others, echoes, behind]), cuts)) {
          const rest: Buffer | undefined = synced ? piece : scanner.push(piece);
          if (rest) out.push(rest);
          synced ||= rest !== undefined;
        }
        assert.ok(synced);
        assert.ok(Buffer.concat(out).equals(behind));
        assert.is(scanner.discarded, stale.length + others.length);
      },
    ),
  );
});

s.test("an answer with one echo missing is none", () => {
  const nonce = newNonce();
  for (let missing = 0; missing < 4; missing += 1) {
    const scanner = new AnswerScanner(nonce);
    const some = nonce.filter((_, index) => index !== missing);
    assert.is(scanner.push(Buffer.concat([answer(some), answer(newNonce()), answer(some)])), undefined);
  }
});

s.test("no header that a client can send stands anywhere in a mark where it would hide the guarded part", () => {
  // The guard is bytes 11 to 24; a header that touches it and stands within the mark begins at 0 to 24.
  for (let at = 0; at <= 24; at += 1) {
    const [version, type, flags] = [MARK[at], MARK[at + 1], MARK.readUInt16BE(at + 2)];
    const length = MARK.readUInt32BE(at + 8);
    const sendable =
      version === 0 &&
      flags <= 15 &&
      ((type === TYPE.data && length <= 65_536) ||
        (type === TYPE.window && length <= 262_144) ||
        (type === TYPE.ping && (flags === FLAG.ack || length <= 0x7fffffff)) ||
        (type === TYPE.goAway && length <= 2));
    assert.not(sendable, `at ${at}`);
  }
});

s.test("nothing that streams carry makes a client's bytes look like an announcement", async () => {
  const forged = () => announcement(newNonce());
  const content = fc.oneof(
    fc.constant(0).map(forged),
    fc.nat(95).map((cut) => forged().subarray(cut)),
    fc.nat(95).map((cut) => forged().subarray(0, cut)),
    fc.integer({ min: 1, max: 700 }).map((size) => randomBytes(size)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(content, { minLength: 1, maxLength: 12 }), fc.boolean(), async (chunks, together) => {
      const output = collect();
      const client = new YamuxSession({ role: "client", output });
      const stream = client.openStream();
      if (together) stream.cork();
      for (const chunk of chunks) stream.write(chunk);
      stream.uncork();
      stream.end();
      while (!stream.writableFinished) await turn();
      const { passed, found } = scan([output.all()]);
      assert.equal(found, []);
      const server = new YamuxSession({ role: "server", output: collect() });
      const got: Buffer[] = [];
      server.onStream = (far) => far.on("data", (bytes: Buffer) => got.push(bytes));
      server.receive(passed);
      await turn();
      assert.ok(Buffer.concat(got).equals(Buffer.concat(chunks)));
      client.end();
      server.end();
    }),
    { numRuns: 300 },
  );
});

s.test("a payload that begins with the rest of a mark cannot borrow its beginning from the frame's header", async () => {
  for (let borrowed = 1; borrowed < 12; borrowed += 1) {
    for (const size of [MARK.readUInt16BE(borrowed < 2 ? 0 : borrowed - 2), 256, 512, 65_536]) {
      const output = collect();
      const client = new YamuxSession({ role: "client", output });
      const stream = client.openStream();
      const whole = announcement(newNonce());
      stream.end(Buffer.concat([whole.subarray(borrowed), Buffer.alloc(Math.max(0, size - whole.length + borrowed))]));
      while (!stream.writableFinished) await turn();
      assert.equal(scan([output.all()]).found, []);
      assert.is(output.all().indexOf(MARK), -1);
      client.end();
    }
  }
});

s.run();
