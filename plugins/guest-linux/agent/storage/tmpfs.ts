import type { StorageMessage } from "tapvisor/protocol";
import { joinOptions, optionValue, refuse } from "./options.ts";
import type { Step } from "./plan.ts";

/** What a tmpfs may take when the request does not say: half of the guest's memory, the kernel's own default, said aloud. */
export const DEFAULT_TMPFS_SIZE = "50%";

/** Bytes, with the kernel's suffixes, or percent of the guest's memory. Zero would mean no limit. */
export const TMPFS_SIZE = /^(?:[1-9]\d{0,15}[kmgKMG]?|[1-9]\d?%|100%)$/;

/** A tmpfs, always bounded: Kata's `ephemeral`, which containers of a sandbox share, and `local`, which it calls a directory in the guest. */
export function tmpfs(storage: StorageMessage): readonly Step[] {
  const size = optionValue(storage.options, "size") ?? DEFAULT_TMPFS_SIZE;
  if (!TMPFS_SIZE.test(size)) refuse(storage, `the size ${JSON.stringify(size)} is not usable, wanted bytes or percent`);
  const others = storage.options.filter((option) => !option.startsWith("size="));
  const options = joinOptions(storage, [...others, `size=${size}`]);
  return [{ kind: "mount", fstype: "tmpfs", options, source: storage.source || "tmpfs", target: storage.mount_point }];
}
