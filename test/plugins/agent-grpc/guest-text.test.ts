import fc from "fast-check";
import * as assert from "uvu/assert";
import { guestText } from "../../../plugins/agent-grpc/guest-text.ts";
import { suite } from "../../support/suite.ts";

const s = suite("agent-grpc guest text");

s.test("ordinary text, of any script, stays as it is", () => {
  for (const text of ["no such container", "größe 容器 🚀", ""]) assert.is(guestText(text), text);
});

for (const [text, shown] of [
  ["\u001b[31mred", "\\u{1b}[31mred"],
  ["\u001b]52;c;aGk=\u0007", "\\u{1b}]52;c;aGk=\\u{7}"],
  ["\u009b2J", "\\u{9b}2J"],
  ["a\r\nb\0", "a\\u{d}\\u{a}b\\u{0}"],
  ["\u202egnp.exe", "\\u{202e}gnp.exe"],
  ["\u2066x\u2069", "\\u{2066}x\\u{2069}"],
  ["\ud800x\udc00", "\\u{d800}x\\u{dc00}"],
] as const) {
  s.test(`${JSON.stringify(text)} is shown as ${shown}`, () => {
    assert.is(guestText(text), shown);
  });
}

s.test("text is cut at its limit and says how much is missing", () => {
  assert.is(guestText("abcdef", 4), "abcd… (2 characters more)");
  assert.is(guestText("x".repeat(5000)), `${"x".repeat(4096)}… (904 characters more)`);
});

s.test("no control character of any text comes through", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
      assert.not.match(guestText(text), /[\p{Cc}\p{Cs}\p{Bidi_Control}\u2028\u2029]/u);
    }),
  );
});

s.run();
