import { randomBytes } from "node:crypto";
import * as assert from "uvu/assert";
import { portPieces } from "../../../../plugins/guest-linux/agent/port-pieces.ts";
import { suite } from "../../../support/suite.ts";

const s = suite("guest agent: pieces for the port");
const KiB = 1024;

s.test("frames of any sizes come out as the same bytes, in pieces that the kernel takes whole", () => {
  const pieces = portPieces();
  const sizes = [0, 1, 12, 4095, 4096, 4097, 32 * KiB - 1, 32 * KiB, 32 * KiB + 1, 131_060, 300_000];
  for (const first of sizes) {
    for (const second of sizes) {
      const frames = [12, first, 12, second, 3, 3].map((bytes) => randomBytes(bytes));
      const cut = pieces(frames);
      assert.ok(Buffer.concat(cut).equals(Buffer.concat(frames)), `${first} and ${second}`);
      for (const piece of cut) assert.ok(piece.length > 0 && piece.length <= 32 * KiB, `${piece.length}`);
    }
  }
});

s.test("a full frame takes no piece more than its bytes need, and small frames go together", () => {
  const pieces = portPieces();
  assert.is(pieces([randomBytes(12), randomBytes(131_060)]).length, 4);
  assert.is(pieces([randomBytes(12), randomBytes(131_060), randomBytes(12), randomBytes(131_060)]).length, 8);
  assert.is(pieces(Array.from({ length: 100 }, () => randomBytes(16))).length, 1);
});

s.test("more small frames than the memory at hand holds are whole too", () => {
  const frames = Array.from({ length: 2000 }, () => randomBytes(1000));
  assert.ok(Buffer.concat(portPieces()(frames)).equals(Buffer.concat(frames)));
});

s.run();
