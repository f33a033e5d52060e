import { PassThrough, Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import * as assert from "uvu/assert";
import { InputStream } from "../../../../plugins/guest-linux/agent/process/input-stream.ts";
import { OUTPUT_BUFFER_BYTES, OutputStream } from "../../../../plugins/guest-linux/agent/process/output-stream.ts";
import { StatusError } from "../../../../plugins/guest-linux/agent/status.ts";
import { suite } from "../../../support/suite.ts";
import { readableSource } from "./support/readable-source.ts";

const s = suite("guest agent: streams");
const NEVER = new AbortController().signal;

s.test("output is read in pieces of at most the length asked for, then its end for ever", async () => {
  const source = new PassThrough();
  const output = new OutputStream(readableSource(source));
  source.end("abcdef");
  assert.is((await output.read(4)).data.toString(), "abcd");
  assert.is((await output.read(4)).data.toString(), "ef");
  assert.is((await output.read(4)).data.length, 0);
  assert.is((await output.read(4)).data.length, 0);
});

s.test("a read waits for bytes, and one that is given up takes none", async () => {
  const source = new PassThrough();
  const output = new OutputStream(readableSource(source));
  const control = new AbortController();
  const given = output.read(10, control.signal);
  const waiting = output.read(10, NEVER);
  control.abort(new Error("enough"));
  await given.then(
    () => assert.unreachable(),
    () => {},
  );
  source.write("late");
  assert.is((await waiting).data.toString(), "late");
});

s.test("what is given back comes again, in the stream's order", async () => {
  const source = new PassThrough();
  const output = new OutputStream(readableSource(source));
  source.end("abcdef");
  const first = await output.read(2);
  const second = await output.read(2);
  output.giveBack(first);
  output.giveBack(second);
  const read = async () => (await output.read(3)).data.toString();
  assert.equal([await read(), await read(), await read(), await read()], ["ab", "cd", "ef", ""]);
  output.giveBack(second);
  assert.is((await output.read(1)).data.toString(), "c");
  assert.is((await output.read(1)).data.toString(), "d");
});

s.test("a reader that stops stops the source at 1 MiB, and nothing is lost when it goes on", async () => {
  const source = new PassThrough({ highWaterMark: 16 * 1024 });
  const output = new OutputStream(readableSource(source));
  let written = 0;
  const block = () => Buffer.alloc(10_000, String.fromCharCode(97 + ((written / 10_000) % 26)));
  const sent: Buffer[] = [];
  const fill = () => {
    while (source.writableLength < 16 * 1024 && written < 4_000_000) {
      sent.push(block());
      source.write(sent.at(-1));
      written += 10_000;
    }
  };
  source.on("drain", fill);
  fill();
  await delay(20);
  assert.ok(written < OUTPUT_BUFFER_BYTES + 64 * 1024, `${written} bytes taken from the process`);
  assert.ok(written > OUTPUT_BUFFER_BYTES / 2, `only ${written} bytes held`);
  const received: Buffer[] = [];
  for (let bytes = 0; bytes < 4_000_000; ) {
    const { data } = await output.read(70_000, AbortSignal.timeout(5_000));
    received.push(data);
    bytes += data.length;
  }
  assert.ok(Buffer.concat(received).equals(Buffer.concat(sent)));
});

s.test("a discarded stream is at its end, whatever it held", async () => {
  const source = new PassThrough();
  const output = new OutputStream(readableSource(source));
  source.write("secret");
  const chunk = await output.read(2);
  const waiting = output.read(100);
  assert.is((await waiting).data.toString(), "cret");
  source.write("more");
  output.discard();
  output.giveBack(chunk);
  assert.is((await output.read(10)).data.length, 0);
});

s.test("a source that fails is at its end", async () => {
  const source = new PassThrough();
  const output = new OutputStream(readableSource(source));
  const waiting = output.read(10);
  source.destroy(new Error("EIO"));
  assert.is((await waiting).data.length, 0);
});

s.test("input waits for earlier bytes, and a write that is given up meanwhile takes nothing", async () => {
  const taken: Buffer[] = [];
  let release: () => void = () => {};
  const target = new Writable({
    highWaterMark: 0,
    write(chunk, _, done) {
      taken.push(chunk);
      release = done;
    },
  });
  const input = new InputStream(target);
  assert.is(await input.write(Buffer.from("one"), NEVER), 3);
  const control = new AbortController();
  const given = input.write(Buffer.from("two"), control.signal);
  control.abort(new Error("enough"));
  await given.then(
    () => assert.unreachable(),
    () => {},
  );
  const third = input.write(Buffer.from("three"), NEVER);
  release();
  assert.is(await third, 5);
  assert.equal(taken.map(String), ["one", "three"]);
});

s.test("input that is closed or broken refuses with FAILED_PRECONDITION", async () => {
  const refused = async (input: InputStream) => {
    try {
      await input.write(Buffer.from("x"), NEVER);
    } catch (error) {
      return error instanceof StatusError && error.status;
    }
  };
  const closed = new InputStream(new PassThrough());
  closed.close();
  closed.close();
  assert.is(await refused(closed), "FAILED_PRECONDITION");
  const broken = new InputStream(new Writable({ write: (_chunk, _, done) => done(new Error("EPIPE")) }));
  assert.is(await refused(broken), "FAILED_PRECONDITION");
});

s.test("a write takes at most what a pipe holds", async () => {
  const input = new InputStream(new Writable({ write: (_chunk, _, done) => done() }));
  assert.is(await input.write(Buffer.alloc(1_000_000), NEVER), 65536);
});

s.test("input that was taken is taken, also when it is closed at once", async () => {
  const target = new Writable({
    write(_chunk, _encoding, done) {
      done();
      input.discard();
    },
  });
  const input: InputStream = new InputStream(target);
  assert.is(await input.write(Buffer.from("last line"), NEVER), 9);
  await input.write(Buffer.from("more"), NEVER).then(
    () => assert.unreachable(),
    (error) => assert.instance(error, StatusError),
  );
});

s.run();
