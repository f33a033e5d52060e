import type { StorageMessage } from "tapvisor/protocol";
import { StatusError } from "../status.ts";

/** @throws INVALID_ARGUMENT naming the storage. */
export function refuse(storage: StorageMessage, why: string): never {
  throw new StatusError("INVALID_ARGUMENT", `Cannot mount the ${storage.driver} storage at ${JSON.stringify(storage.mount_point)}: ${why}`);
}

/** The options as one word for `mount -o`. None may hold a comma of its own, since that would make two of it. @throws INVALID_ARGUMENT. */
export function joinOptions(storage: StorageMessage, options: readonly string[]): string {
  for (const option of options) {
    if (option === "" || /[,\x00-\x1f]/.test(option))
      refuse(storage, `the option ${JSON.stringify(option)} is not usable, wanted one without commas`);
  }
  return options.length === 0 ? "rw" : options.join(",");
}

/** The value of `name=value` among the options. */
export function optionValue(options: readonly string[], name: string): string | undefined {
  return options.find((option) => option.startsWith(`${name}=`))?.slice(name.length + 1);
}
