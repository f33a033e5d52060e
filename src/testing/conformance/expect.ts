import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { type ErrorCode, isTapvisorError, messageOf, toError } from "../../base/errors.ts";
import type { Finding } from "../../contracts/finding.ts";
import type { Call } from "../../contracts/holding.ts";
import { quietCall } from "../quiet-call.ts";

/** Between two looks at something that nothing announces, ms. */
const LOOK_EVERY_MS = 10;

/** The error that `work` must reject with: one of ours, with one of the codes when some are given. */
export async function rejects(what: string, work: Promise<unknown>, ...codes: readonly ErrorCode[]) {
  const error = await failure(what, work);
  assert.ok(isTapvisorError(error), `${what} must reject with a TapvisorError, and did with: ${messageOf(error)}`);
  if (codes.length > 0)
    assert.ok(codes.includes(error.code), `${what} must be ${codes.join(" or ")}, and is ${error.code}: ${error.message}`);
  return error;
}

/** The error that `work` must reject with, whichever. */
export async function failure(what: string, work: Promise<unknown>): Promise<Error> {
  const [outcome] = await Promise.allSettled([work]);
  assert.equal(outcome.status, "rejected", `${what} must fail, and succeeded`);
  return toError(outcome.status === "rejected" ? outcome.reason : undefined);
}

/** Work that is awaited later: should the check fail before that, its own failure is not one of the process. */
export function begun<T>(work: Promise<T>): Promise<T> {
  work.catch(() => {});
  return work;
}

/** A call whose signal had fired before it began. */
export function firedCall(): Call {
  return quietCall({ signal: AbortSignal.abort(new Error("the caller gave up")) });
}

/** Whether `promise` is still open after what is ready to run has run. */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const open = Symbol("open");
  const turn = new Promise((resolve) => setImmediate(() => setImmediate(() => resolve(open))));
  return (await Promise.race([promise, turn])) === open;
}

/** Looks again and again for something that nothing announces; the check's own deadline ends it, and `timeoutMs`. */
export async function eventually(what: string, holds: () => Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await holds())) {
    assert.ok(performance.now() < end, `${what} was wanted within ${timeoutMs} ms`);
    await delay(LOOK_EVERY_MS, undefined, { ref: false }); // a check that was given up does not keep the process
  }
}

/** Whether a value comes back from JSON as it was: what a holding is recorded as. */
export function assertRecordable(what: string, value: unknown): void {
  assert.deepEqual(JSON.parse(JSON.stringify(value)), value, `${what} must survive JSON`);
}

/** The findings of an `inspectHost`. */
export function assertFindings(findings: readonly Finding[]): void {
  assert.ok(findings.length > 0, "inspectHost() must look at something");
  for (const { check, level, found } of findings) {
    assert.ok(["ok", "degraded", "missing"].includes(level), `"${level}" is no level of a finding`);
    for (const text of [check, found]) assert.match(text, /^[^\n]+$/, "a finding's texts are one line each");
  }
}
