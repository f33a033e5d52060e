import { TapvisorError } from "tapvisor/plugin";

/** A field of a device that cannot be used, what was found there and what is wanted. */
export function badDevice(path: string, value: unknown, wanted: string, found?: string, cause?: unknown): TapvisorError {
  const current = found === undefined ? "" : ` ${found},`;
  return new TapvisorError("INVALID_INPUT", `Cannot plug in ${path} ${JSON.stringify(value)}:${current} wanted ${wanted}`, {
    data: { path, value, wanted },
    cause,
  });
}
