import { definePlugin, throwIfAborted, validate } from "tapvisor/plugin";
import { checkFiles } from "./check-files.ts";
import { inspectFiles } from "./inspect.ts";
import { type GuestFilesOptions, optionsSchema } from "./options.ts";

export type { GuestFilesOptions } from "./options.ts";

/** A guest from ready files, with an agent that speaks the Kata 1.x protocol: a Kata guest, say. Guest `files`. */
export const guestFiles = definePlugin<GuestFilesOptions>("guest-files", (ctx, options) => {
  const checked = validate(optionsSchema, options, "guest-files");
  ctx.provide("guest", "files", () => ({
    inspectHost: () => inspectFiles(checked),
    async prepare({ signal }) {
      throwIfAborted(signal, "looking at the guest's files");
      return checkFiles(checked);
    },
  }));
});
