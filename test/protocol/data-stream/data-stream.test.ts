import {
  AcknowledgementReader,
  beginsPreamble,
  encodeAcknowledgement,
  encodeAnswer,
  encodePreamble,
  parseAnswer,
  parsePreamble,
  splitLine,
} from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";

const s = suite("data stream protocol");
const REQUEST = { container: "web", exec: 'line\n"', stream: "stdout" } as const;

s.test("a preamble is one line that no HTTP/2 connection begins with, and says what was asked", () => {
  const bytes = encodePreamble(REQUEST);
  assert.is(bytes.indexOf("\n"), bytes.length - 1);
  assert.is(beginsPreamble(Buffer.from("P")), false);
  for (let length = 0; length <= bytes.length; length++) assert.ok(beginsPreamble(bytes.subarray(0, length)));
  const line = splitLine(Buffer.concat([bytes, Buffer.from("input")]));
  assert.equal(line && parsePreamble(line.text), REQUEST);
  assert.is(line?.rest.toString(), "input");
  assert.is(splitLine(bytes.subarray(0, -1)), undefined);
});

s.test("a preamble that is none is undefined, whatever it is", () => {
  const parse = (json: string) => parsePreamble(`tapvisor-stream/1 ${json}`);
  for (const json of [
    "",
    "{",
    "null",
    "[]",
    "1",
    '{"container":"c","exec":"c","stream":"stdlog"}',
    '{"container":1,"exec":"c","stream":"stdin"}',
  ])
    assert.is(parse(json), undefined, json);
  assert.is(parse(JSON.stringify({ ...REQUEST, exec: "x".repeat(1025) })), undefined);
});

s.test("an answer is ok, or a status and a text; anything else is none", () => {
  const text = (bytes: Buffer) => splitLine(bytes)?.text ?? "";
  assert.equal(parseAnswer(text(encodeAnswer({ ok: true }))), { ok: true });
  const refusal = { status: "NOT_FOUND", text: "no\nsuch" };
  assert.equal(parseAnswer(text(encodeAnswer(refusal))), refusal);
  for (const line of ["", "ok", "{}", '{"ok":1}', '{"status":"not found","text":""}', '{"status":"NOT_FOUND"}'])
    assert.is(parseAnswer(line), undefined);
});

s.test("acknowledgements add up at every split of their bytes; one of 0 is none", () => {
  const bytes = Buffer.concat([1, 65_536, 0xffff_ffff].map(encodeAcknowledgement));
  for (let at = 0; at <= bytes.length; at++) {
    const reader = new AcknowledgementReader();
    const sum = (reader.push(bytes.subarray(0, at)) ?? Number.NaN) + (reader.push(bytes.subarray(at)) ?? Number.NaN);
    assert.is(sum, 1 + 65_536 + 0xffff_ffff);
  }
  assert.is(new AcknowledgementReader().push(Buffer.alloc(4)), undefined);
});

s.run();
