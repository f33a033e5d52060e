import { createHash } from "node:crypto";
import { accessSync, constants } from "node:fs";
import { join, resolve } from "node:path";
import { z } from "zod";
import { validate } from "./validate.ts";

/** How an engine keeps templates: VMs that have booted and were saved, from which sandboxes go on without a boot. */
export interface TemplatesOptions {
  /**
   * Where they are kept: a directory of this user's alone, best on a tmpfs, where a template takes what its guest has written (some 150 MiB). By default one
   * for each user and root in /dev/shm, and below the root where there is no /dev/shm.
   */
  readonly directory?: string | undefined;
  /** How many that no sandbox uses are kept when one is built, the newest; 4 by default. */
  readonly keep?: number | undefined;
}

/** What the engine works with. */
export interface TemplatesConfig {
  readonly enabled: boolean;
  /** Forks pass through it, too, with templates or without. */
  readonly directory: string;
  readonly keep: number;
}

const TMPFS = "/dev/shm";
const KEPT = 4;

export const templatesSchema = z.union(
  [z.boolean(), z.strictObject({ directory: z.string().min(1).optional(), keep: z.int().min(0).max(1000).optional() })],
  "wanted true, false or { directory, keep }",
);

/** @throws INVALID_INPUT naming the field. */
export function templatesConfig(given: unknown, root: string): TemplatesConfig {
  const { templates = true } = validate(z.strictObject({ templates: templatesSchema.optional() }), { templates: given }, "engine");
  const { directory, keep = KEPT }: TemplatesOptions = typeof templates === "object" ? templates : {};
  if (templates === false) return { enabled: false, directory: join(root, "templates"), keep };
  return { enabled: true, directory: directory === undefined ? usualDirectory(root) : resolve(directory), keep };
}

/** What `$TAPVISOR_TEMPLATES` says: `off`, or a directory. */
export function templatesOfEnvironment(): TemplatesOptions | false | undefined {
  const said = process.env.TAPVISOR_TEMPLATES;
  if (said === undefined || said === "") return undefined;
  return said === "off" ? false : { directory: said };
}

function usualDirectory(root: string): string {
  try {
    accessSync(TMPFS, constants.W_OK);
  } catch {
    return join(root, "templates");
  }
  const name = createHash("sha256").update(root).digest("hex").slice(0, 16);
  return join(TMPFS, `tapvisor-${process.getuid?.() ?? 0}-${name}`);
}
