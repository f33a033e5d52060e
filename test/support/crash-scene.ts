import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createEngine } from "tapvisor";
import { makeExampleRootfs } from "../../scripts/example-rootfs.ts";
import type { Crash } from "./crash-child.ts";
import { testTemplates } from "./real-engine.ts";
import { tempDirectory } from "./temp.ts";
import { hostView } from "./whole-world.ts";

export type CrashScene = Awaited<ReturnType<typeof crashScene>>;

/** A place for engines of several processes, and scripts that die in it. */
export async function crashScene() {
  const directory = await tempDirectory();
  const root = join(directory.path, "root");
  const rootfs = join(directory.path, "rootfs");
  makeExampleRootfs(rootfs);
  await mkdir(root);
  await writeFile(join(directory.path, "disk.img"), Buffer.alloc(2 ** 20)); // the disk of the script's container
  const empty = await hostView(root);
  const templates = testTemplates();
  return {
    path: directory.path,
    root,
    rootfs,
    /** What the host shows when nothing is held. */
    empty,
    /** Builds the template that the scripts' sandboxes go on from, so that none dies building it. */
    async buildTemplate() {
      await using engine = await createEngine({ root, templates: { directory: templates } });
      await engine.buildTemplate();
    },
    /** Runs a script that must die as told; resolves when its process is gone. Its sandboxes go on from the template of the run; with `boots` they boot. */
    dies: ({ boots, ...crash }: Omit<Crash, "root" | "rootfs"> & { readonly boots?: true }) =>
      dies({ root, rootfs, ...(boots ? {} : { templates }), ...crash }),
    /** The kernel ends the children of a killed script, a moment after it. There is no event for a process that is not ours. */
    async processesGone() {
      const processes = async () => ((await hostView(root)) as { processes: string[] }).processes;
      for (const deadline = Date.now() + 10_000; (await processes()).length > 0; await delay(20)) {
        if (Date.now() > deadline) throw new Error(`processes of a killed script still run: ${await processes()}`);
      }
    },
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

async function dies(crash: Crash): Promise<void> {
  const argv = ["--import", "tsx", join(import.meta.dirname, "crash-child.ts"), JSON.stringify(crash)];
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      said += chunk;
    });
  }
  const [code, signal] = await once(child, "close");
  if (signal !== "SIGKILL") throw new Error(`${nameOf(crash)}: the script ended with ${signal ?? code}: ${said}`);
}

export function nameOf({ verb, moment, afterMs }: Pick<Crash, "verb" | "moment" | "afterMs">): string {
  return `${verb}, ${afterMs ? `${afterMs} ms after: ` : ""}${moment}`;
}
