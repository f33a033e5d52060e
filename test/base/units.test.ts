import * as assert from "uvu/assert";
import { alignUp, formatBytes, GiB, MiB, parseBytes, toMiBCeil } from "../../src/base/units.ts";
import { suite } from "../support/suite.ts";

const s = suite("units");

s.test("parseBytes() takes a size with its unit, and a number of bytes", () => {
  for (const [given, bytes] of [
    ["512MiB", 512 * MiB],
    ["1.5GiB", 1.5 * GiB],
    ["1 KiB", 1024],
    ["3B", 3],
    [4096, 4096],
    [0, 0],
  ] as const) {
    assert.is(parseBytes(given), bytes, String(given));
  }
});

s.test("parseBytes() refuses what does not say its unit, is negative, fractional or no size", () => {
  for (const given of [
    "512",
    "-1MiB",
    "1mb",
    "1MB",
    "",
    "MiB",
    "1e3MiB",
    "0.3B",
    -1,
    1.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    2 ** 60,
    null,
    undefined,
    {},
    true,
  ]) {
    assert.is(parseBytes(given), undefined, JSON.stringify(given));
  }
});

s.test("formatBytes() gives the shortest exact text", () => {
  assert.is(formatBytes(512 * MiB), "512MiB");
  assert.is(formatBytes(1.5 * GiB), "1.5GiB");
  assert.is(formatBytes(1000), "1000B");
});

s.test("toMiBCeil() and alignUp() stay exact above 4 GiB, where a shift would give 0", () => {
  assert.is(toMiBCeil(4 * GiB), 4096);
  assert.is(toMiBCeil(4 * GiB + 1), 4097);
  assert.is(alignUp(5 * GiB + 1, 128 * MiB), 5 * GiB + 128 * MiB);
});

s.run();
