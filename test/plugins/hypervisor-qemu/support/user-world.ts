import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { VmIntent } from "tapvisor/plugin";
import { unpluggingKernel } from "./real-mode-kernel.ts";
import { qemu, type World, world } from "./world.ts";

/** A user that Debian and its likes have, with a group of its own. */
export const USER = "daemon";

export interface UserWorld extends World {
  /** Where that user may read; the world's own directory is closed to all but root, the run directory in it included. */
  readonly readable: string;
}

/** A world whose QEMU runs as the user. */
export async function userWorld(amend: Partial<VmIntent> = {}): Promise<UserWorld> {
  const readable = await mkdtemp("/tmp/tv-user-"); // not below the tests' own, which is root's alone
  await chmod(readable, 0o755);
  const kernel = join(readable, "kernel");
  await writeFile(kernel, unpluggingKernel(), { mode: 0o644 });
  const w = await world(unpluggingKernel());
  const hypervisor = await qemu({ accelerator: "tcg", user: USER });
  return {
    ...w,
    hypervisor,
    readable,
    intent: { ...w.intent, boot: { ...w.intent.boot, kernel }, ...amend },
    async [Symbol.asyncDispose]() {
      await w[Symbol.asyncDispose]();
      await rm(readable, { recursive: true, force: true });
    },
  };
}
