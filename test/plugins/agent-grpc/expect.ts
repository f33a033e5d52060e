import * as assert from "uvu/assert";
import { type AnyTapvisorError, type ErrorCode, isTapvisorError } from "../../../src/base/errors.ts";

/** The error that a call ends with, of the code that is wanted. */
export async function failure<C extends ErrorCode>(code: C, work: Promise<unknown>): Promise<Extract<AnyTapvisorError, { code: C }>> {
  try {
    await work;
  } catch (error) {
    if (isTapvisorError(error) && error.code === code) return error as Extract<AnyTapvisorError, { code: C }>;
    throw error;
  }
  return assert.unreachable(`succeeded instead of ${code}`) as never;
}
