import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createEngine, type Engine, type EngineOptions, isTapvisorError } from "tapvisor";
import { makeExampleRootfs } from "../../scripts/example-rootfs.ts";
import { findProcessesByMark } from "../../src/base/process-identity.ts";
import { tempDirectory } from "./temp.ts";

export interface RealEngine extends AsyncDisposable {
  readonly engine: Engine;
  readonly root: string;
  /** A busybox root file system of this test's own. */
  readonly rootfs: string;
  readonly directory: string;
  /** What the engine's host holds: files of its root, mounts below it, processes that name it. */
  host(): Promise<unknown>;
}

/** Where the tests' own template is kept, which the runner takes away in the end. */
export function testTemplates(): string {
  const directory = process.env.TAPVISOR_TEST_TEMPLATES;
  if (directory) return directory;
  throw new Error("TAPVISOR_TEST_TEMPLATES is not set: run the file by test/run.ts");
}

/**
 * An engine on real QEMU, with a root of its own; the guest comes from the machine's cache. Its sandboxes go on from a template of the whole run, in memory of
 * their own; with `templates: false` they boot.
 */
export async function realEngine(options: Omit<EngineOptions, "root"> = {}): Promise<RealEngine> {
  const directory = await tempDirectory();
  const root = join(directory.path, "root");
  const rootfs = join(directory.path, "rootfs");
  makeExampleRootfs(rootfs);
  const engine = await createEngine({ root, templates: { directory: testTemplates() }, ...options });
  return {
    engine,
    root,
    rootfs,
    directory: directory.path,
    host: () => hostOf(root),
    async [Symbol.asyncDispose]() {
      await engine.close();
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** What stands on the host for the engine of a root; empty when it holds nothing. */
export async function hostOf(root: string): Promise<{ files: string[]; mounts: string[]; processes: number }> {
  const mounts = (await readFile("/proc/self/mountinfo", "utf8")).split("\n").filter((line) => line.includes(root));
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  return { files, mounts, processes: (await findProcessesByMark(root)).length };
}

export const NOTHING = { files: [], mounts: [], processes: 0 };

/** The error of work that must fail with one of ours. */
export async function failureOf(work: Promise<unknown>) {
  const thrown = await work.then(
    () => new Error("it did not fail"),
    (error: unknown) => error,
  );
  if (isTapvisorError(thrown)) return thrown;
  throw thrown;
}
