import { pino } from "pino";
import type { Call } from "../contracts/holding.ts";

const silent = pino({ level: "silent" });

/** A `Call` that logs nothing and ends after `timeoutMs`, 10 s by default, or with `signal`. */
export function quietCall(options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {}): Call {
  return { signal: options.signal ?? AbortSignal.timeout(options.timeoutMs ?? 10_000), log: silent };
}
