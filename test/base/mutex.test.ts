import * as assert from "uvu/assert";
import { Mutex } from "../../src/base/mutex.ts";
import { suite } from "../support/suite.ts";

const s = suite("mutex");

s.test("run() lets one piece of work in at a time, in the order of arrival", async () => {
  const mutex = new Mutex();
  const seen: string[] = [];
  const work = (name: string) => async () => {
    seen.push(`${name} in`);
    await new Promise((resolve) => setImmediate(resolve));
    seen.push(`${name} out`);
  };
  await Promise.all([mutex.run(work("a")), mutex.run(work("b")), mutex.run(work("c"))]);
  assert.equal(seen, ["a in", "a out", "b in", "b out", "c in", "c out"]);
});

s.test("run() goes on after work that threw", async () => {
  const mutex = new Mutex();
  await mutex.run(async () => Promise.reject(new Error("boom"))).catch(() => {});
  assert.is(await mutex.run(async () => 1), 1);
});

s.test("run() gives up its place when its signal fires, and the others still come one after the other", async () => {
  const mutex = new Mutex();
  let open = () => {};
  const first = mutex.run(
    () =>
      new Promise<void>((resolve) => {
        open = resolve;
      }),
  );
  const caller = new AbortController();
  let ran = false;
  const second = mutex
    .run(async () => {
      ran = true;
    }, caller.signal)
    .catch((error: Error) => error);
  let third = false;
  const last = mutex.run(async () => {
    third = true;
  });
  caller.abort();
  assert.instance(await second, Error);
  assert.is(third, false, "the third waits for the first, not for the one that gave up");
  open();
  await Promise.all([first, last]);
  assert.is(ran, false);
  assert.is(third, true);
});

s.run();
