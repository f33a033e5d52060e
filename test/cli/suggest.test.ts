import fc from "fast-check";
import * as assert from "uvu/assert";
import { editDistance, nearest } from "../../src/cli/suggest.ts";
import { suite } from "../support/suite.ts";

const s = suite("suggest");

s.test("nearest() finds the word that a slip of the finger was meant to be", () => {
  const known = ["run", "setup", "doctor"];
  assert.is(nearest("rnu", known), "run");
  assert.is(nearest("setpu", known), "setup");
  assert.is(nearest("dcotr", known), "doctor");
});

s.test("nearest() finds nothing where every word is far away", () => {
  assert.is(nearest("completion", ["run", "setup", "doctor"]), undefined);
  assert.is(nearest("x", []), undefined);
});

s.test("editDistance() is a distance: zero only for equal words, the same both ways, at most the longer word", () => {
  const word = fc.string({ maxLength: 8 });
  fc.assert(
    fc.property(word, word, (a, b) => {
      const distance = editDistance(a, b);
      return (distance === 0) === (a === b) && distance === editDistance(b, a) && distance <= Math.max(a.length, b.length);
    }),
  );
});

s.run();
