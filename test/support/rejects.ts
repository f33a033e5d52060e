import { type AnyTapvisorError, type ErrorCode, isTapvisorError } from "tapvisor/plugin";
import * as assert from "uvu/assert";

/** The error of a promise that must reject with this code. */
export async function rejects<C extends ErrorCode>(promise: Promise<unknown>, code: C): Promise<Extract<AnyTapvisorError, { code: C }>> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isTapvisorError(error)) throw error ?? new Error(`wanted a rejection with ${code}`);
  assert.is(error.code, code, error.message);
  return error as Extract<AnyTapvisorError, { code: C }>;
}
