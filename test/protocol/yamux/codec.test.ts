import fc from "fast-check";
import { encodeHeader, FLAG, FrameDecoder, GO_AWAY, TYPE } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";

const s = suite("yamux codec");
const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");

/** Decodes into one line of text a frame, so that golden comparisons read well. */
function decode(pieces: readonly Buffer[]): string[] {
  const lines: string[] = [];
  let payload: Buffer[] = [];
  const decoder = new FrameDecoder({
    header: (type, flags, id, length) => {
      lines.push(`${type} ${flags} ${id} ${length}`);
      payload = [];
      return true;
    },
    payload: (bytes) => {
      payload.push(Buffer.from(bytes));
      return true;
    },
    payloadEnd: () => {
      lines.push(`= ${Buffer.concat(payload).toString("hex")}`);
      return true;
    },
    violation: (error) => {
      lines.push(`${error.code} ${error.data.what}`);
    },
  });
  for (const piece of pieces) decoder.push(piece);
  return lines;
}

s.test("headers are those of the yamux specification, byte for byte", () => {
  const golden: [Buffer, string][] = [
    [encodeHeader(TYPE.window, FLAG.syn, 1, 0), "00 01 0001 00000001 00000000"],
    [encodeHeader(TYPE.window, FLAG.ack, 1, 0), "00 01 0002 00000001 00000000"],
    [encodeHeader(TYPE.data, 0, 3, 5), "00 00 0000 00000003 00000005"],
    [encodeHeader(TYPE.data, FLAG.syn | FLAG.fin, 0x01020304, 262_144), "00 00 0005 01020304 00040000"],
    [encodeHeader(TYPE.window, FLAG.rst, 0xfffffffe, 0xffffffff), "00 01 0008 fffffffe ffffffff"],
    [encodeHeader(TYPE.ping, FLAG.syn, 0, 0xdeadbeef), "00 02 0001 00000000 deadbeef"],
    [encodeHeader(TYPE.ping, FLAG.ack, 0, 7), "00 02 0002 00000000 00000007"],
    [encodeHeader(TYPE.goAway, 0, 0, GO_AWAY.internal), "00 03 0000 00000000 00000002"],
  ];
  for (const [made, wanted] of golden) assert.equal(made.toString("hex"), hex(wanted).toString("hex"));
});

s.test("a recorded conversation decodes to its frames", () => {
  const bytes = hex("00010001 00000001 00000000 00000000 00000001 00000003 616263 00000004 00000001 00000000 00020001 00000000 ffffffff");
  assert.equal(decode([bytes]), ["1 1 1 0", "0 0 1 3", "= 616263", "0 4 1 0", "= ", `2 1 0 ${0xffffffff}`]);
});

s.test("how the bytes were split makes no difference", () => {
  const frame = fc.oneof(
    fc.record({ type: fc.constant(TYPE.data), flags: fc.nat(15), id: fc.nat(), payload: fc.uint8Array({ maxLength: 60 }) }),
    fc.record({ type: fc.constantFrom(1, 2, 3), flags: fc.nat(15), id: fc.nat(), payload: fc.constant(new Uint8Array()) }),
  );
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 8 }),
      (frames, sizes) => {
        const bytes = Buffer.concat(
          frames.flatMap((each) => [encodeHeader(each.type, each.flags, each.id, each.payload.length), each.payload]),
        );
        const pieces: Buffer[] = [];
        for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
          const size = sizes[turn % sizes.length] ?? 1;
          pieces.push(bytes.subarray(at, at + size));
          at += size;
        }
        const whole = frames.flatMap((each) => {
          const line = `${each.type} ${each.flags} ${each.id} ${each.payload.length}`;
          return each.type === TYPE.data ? [line, `= ${Buffer.from(each.payload).toString("hex")}`] : [line];
        });
        assert.equal(decode(pieces), whole);
      },
    ),
  );
});

s.test("an unknown version, type or flag, or a frame above the window, is GUEST_PROTOCOL, and nothing is decoded after it", () => {
  const ping = hex("00020001 00000000 00000001");
  const cases: [string, string][] = [
    ["01000000 00000001 00000000", "a yamux frame of version 1, wanted 0"],
    ["00040000 00000001 00000000", "a yamux frame of type 4, wanted 0 to 3"],
    ["00000010 00000001 00000000", "a yamux frame with flags 0x10, wanted only those of 0xf"],
    ["00000000 00000001 00040001", "a yamux frame of 262145 bytes, wanted at most 262144"],
  ];
  for (const [bytes, what] of cases) {
    assert.equal(decode([ping, hex(bytes), ping]), ["2 1 0 1", `GUEST_PROTOCOL ${what}`]);
    assert.equal(decode([...Buffer.concat([ping, hex(bytes), ping])].map((byte) => Buffer.from([byte]))), [
      "2 1 0 1",
      `GUEST_PROTOCOL ${what}`,
    ]);
  }
});

s.test("what a frame still lacks is known at each of its bytes, and nothing is owed between two", () => {
  const decoder = new FrameDecoder({ header: () => true, payload: () => true, payloadEnd: () => true, violation: () => {} });
  const frame = Buffer.concat([encodeHeader(TYPE.data, 0, 1, 5), Buffer.alloc(5)]);
  const owed: number[] = [];
  for (const byte of Buffer.concat([frame, frame])) {
    decoder.push(Buffer.of(byte));
    owed.push(decoder.owed);
  }
  const once = [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 5, 4, 3, 2, 1, 0];
  assert.equal(owed, [...once, ...once]);
});

s.run();
