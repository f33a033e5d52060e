import { constants } from "node:os";
import { TapvisorError } from "../base/errors.ts";

const HIGHEST_SIGNAL = 64;
export const KILL = constants.signals.SIGKILL;

/** A signal's number on Linux. @throws INVALID_INPUT for a name or number that is none. */
export function signalNumber(signal: unknown): number {
  const number = typeof signal === "string" ? constants.signals[signal as NodeJS.Signals] : signal;
  if (typeof number === "number" && Number.isInteger(number) && number >= 1 && number <= HIGHEST_SIGNAL) return number;
  throw new TapvisorError(
    "INVALID_INPUT",
    `Cannot send signal ${JSON.stringify(signal)}: wanted a name such as "SIGTERM" or a number from 1 to ${HIGHEST_SIGNAL}`,
    {
      data: { path: "signal", value: signal, wanted: "a signal" },
    },
  );
}
