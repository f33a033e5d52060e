import * as assert from "uvu/assert";
import { withDeadline } from "../../src/base/deadline.ts";
import { isTapvisorError } from "../../src/base/errors.ts";
import { suite } from "../support/suite.ts";

const s = suite("deadline");
const never = () => new Promise<never>(() => {});

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "none";
  } catch (error) {
    return isTapvisorError(error) ? error.code : String(error);
  }
}

s.test("withDeadline() ends with TIMEOUT even when the work ignores its signal", async () => {
  let inner: AbortSignal | undefined;
  const waiting = withDeadline({ what: "a thing", timeoutMs: 5 }, (signal) => {
    inner = signal;
    return never();
  });
  assert.is(await codeOf(waiting), "TIMEOUT");
  assert.is(inner?.aborted, true);
});

s.test("withDeadline() ends with ABORTED when the caller gives up, with the caller's reason as cause", async () => {
  const caller = new AbortController();
  const reason = new Error("changed my mind");
  const waiting = withDeadline({ what: "a thing", timeoutMs: 60_000, signal: caller.signal }, never);
  caller.abort(reason);
  const error = await waiting.catch((thrown: Error) => thrown);
  assert.is(await codeOf(Promise.reject(error)), "ABORTED");
  assert.is((error as Error).cause, reason);
});

s.test("withDeadline() does not start the work when the signal has already fired", async () => {
  let started = false;
  const waiting = withDeadline({ what: "a thing", timeoutMs: 1000, signal: AbortSignal.abort() }, async () => {
    started = true;
  });
  assert.is(await codeOf(waiting), "ABORTED");
  assert.is(started, false);
});

s.test("withDeadline() passes results and errors through", async () => {
  assert.is(await withDeadline({ what: "a thing", timeoutMs: 1000 }, async () => 7), 7);
  const error = await withDeadline({ what: "a thing", timeoutMs: 1000 }, async () => Promise.reject(new Error("boom"))).catch(
    (thrown: Error) => thrown,
  );
  assert.is((error as Error).message, "boom");
});

s.run();
