import { TapvisorError } from "../../base/errors.ts";
import { show, valueAt } from "../validate.ts";

/** Makes the error for a field of a configuration, by its dotted path and what is wanted there. */
export type Refuse = (path: string, wanted: string, value?: unknown) => TapvisorError<"INVALID_INPUT">;

export function refuser(file: string, config: unknown): Refuse {
  return (path, wanted, value = valueAt(config, path.split("."))) => {
    return new TapvisorError("INVALID_INPUT", `Cannot use ${file}: ${path} is ${show(value)}, wanted ${wanted}`, {
      data: { path: `bundle.${path}`, value, wanted },
    });
  };
}
