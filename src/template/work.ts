import { mkdir, open, rm } from "node:fs/promises";
import { errnoOf, messageOf, TapvisorError } from "../base/errors.ts";
import type { HoldingKind } from "../contracts/holding.ts";
import { filesIn } from "./files.ts";

/** The files of a template while it is made. */
export interface TemplateWorkIntent {
  readonly directory: string;
  readonly memoryBytes: number;
}

/** A private directory with a file for the guest's memory, which takes no room until the guest writes. Once renamed into place it is gone from here. */
export const templateWork: HoldingKind<TemplateWorkIntent, void> = {
  async acquire({ directory, memoryBytes }) {
    const files = filesIn(directory);
    try {
      await mkdir(directory, { mode: 0o700 });
      await mkdir(files.users, { mode: 0o700 });
      await using memory = await open(files.memory, "wx", 0o600);
      await memory.truncate(memoryBytes);
    } catch (cause) {
      throw new TapvisorError("STATE_IO", `Cannot make the files of a template in "${directory}": ${messageOf(cause)}`, {
        data: { file: directory, operation: "create", errno: errnoOf(cause) },
        cause,
      });
    }
  },
  release: ({ intent: { directory } }) => rm(directory, { recursive: true, force: true }),
};
