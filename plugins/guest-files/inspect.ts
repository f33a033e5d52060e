import { type Finding, messageOf } from "tapvisor/plugin";
import { checkFiles } from "./check-files.ts";
import type { GuestFilesOptions } from "./options.ts";

/** Whether the files are there, for the doctor. */
export async function inspectFiles(options: GuestFilesOptions): Promise<Finding[]> {
  try {
    const { kernel, initrd, image } = await checkFiles(options);
    return [{ check: "guest files", level: "ok", found: [kernel, initrd, image].filter(Boolean).join(", ") }];
  } catch (error) {
    return [{ check: "guest files", level: "missing", found: messageOf(error), fix: "correct the options of guest-files" }];
  }
}
