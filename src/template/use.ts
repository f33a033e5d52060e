import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf } from "../base/errors.ts";
import type { HoldingKind } from "../contracts/holding.ts";
import { filesIn } from "./files.ts";
import { verify } from "./manifest.ts";

/** A sandbox that goes on from a template. */
export interface TemplateUseIntent {
  readonly key: string;
  readonly directory: string;
  /** Unique to this start of this sandbox's VM. */
  readonly user: string;
}

/** Counts the sandboxes that went on from a template: one that is used is not pruned. @throws NOT_FOUND, TEMPLATE_DAMAGED. */
export const templateUse: HoldingKind<TemplateUseIntent, void> = {
  async acquire({ key, directory, user }) {
    const files = filesIn(directory);
    // Counted before it is looked at: whoever prunes looks at the users last.
    await writeFile(join(files.users, user), "", { mode: 0o600 }).catch((error) => {
      if (errnoOf(error) !== "ENOENT") throw error; // it is not there, which verify says
    });
    await verify(files, key);
  },
  release: ({ intent: { directory, user } }) => rm(join(filesIn(directory).users, user), { force: true }),
};
