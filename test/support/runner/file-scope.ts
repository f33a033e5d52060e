import { execFile } from "node:child_process";
import { mkdir, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { isAlive, type ProcessIdentity, signalProcess } from "../../../src/base/process-identity.ts";
import { lookAround, type Scope, type Trace } from "../leaks.ts";

const LOOK_EVERY_MS = 50;
/** Only a process stuck in the kernel takes longer to end after SIGKILL. */
const KILL_MS = 5_000;

/** The environment of one test file, by which everything it starts is told from the rest of the machine. */
export interface FileScope {
  readonly env: NodeJS.ProcessEnv;
  readonly scope: Scope;
}

/** Gives a test file a temporary directory and a mark of its own. Paths stay short: a unix socket's has 107 bytes. */
export async function openFileScope(runDirectory: string, name: string): Promise<FileScope> {
  const directory = join(runDirectory, name);
  await mkdir(directory, { mode: 0o700 });
  await shareTsxCache(directory);
  const id = `${runDirectory}:${name}`;
  const root = join(directory, "root"); // what engines use that are given none: examples and the command line
  return {
    // A template for each engine's root would cost every test a boot more: those that are about templates, or are quicker by one, say so.
    env: { TAPVISOR_TEMPLATES: "off", ...process.env, TMPDIR: directory, TAPVISOR_ROOT: root, TAPVISOR_TEST_FILE: id },
    scope: { directories: [directory], roots: [root], mark: `TAPVISOR_TEST_FILE=${id}` },
  };
}

/**
 * What the file left, once what was still going has gone; then takes it away, so that the next file is not blamed.
 * No event tells of strangers' processes, mounts and sockets: they are looked at again and again for a short while.
 */
export async function closeFileScope({ scope }: FileScope, session: number | undefined, settleMs: number): Promise<Trace[]> {
  const whole: Scope = session === undefined ? scope : { ...scope, session };
  const end = Date.now() + settleMs;
  let left = await lookAround(whole);
  while (left.size > 0 && Date.now() < end) {
    await delay(LOOK_EVERY_MS);
    left = await lookAround(whole);
  }
  await takeAway([...left.values()]);
  for (const directory of scope.directories) await removeUnmounted(directory);
  return [...left.values()];
}

async function takeAway(traces: readonly Trace[]): Promise<void> {
  for (const trace of traces) {
    if (trace.process) await endProcess(trace.process);
    if (trace.kind === "mount" && trace.path) await promisify(execFile)("umount", ["-l", trace.path]).catch(() => {});
  }
}

async function endProcess(identity: ProcessIdentity): Promise<void> {
  await signalProcess(identity, "SIGKILL");
  const end = Date.now() + KILL_MS;
  while (Date.now() < end && (await isAlive(identity))) await delay(LOOK_EVERY_MS);
}

// Through a mount that is still there, a recursive removal would reach the files it shows.
async function removeUnmounted(directory: string): Promise<void> {
  const left = await lookAround({ directories: [directory] });
  if ([...left.values()].some(({ kind }) => kind === "mount")) return;
  await rm(directory, { recursive: true, force: true });
}

/** tsx keeps compiled files in the temporary directory: without its cache every test file would compile the sources anew. */
async function shareTsxCache(directory: string): Promise<void> {
  const name = `tsx-${process.getuid?.() ?? 0}`;
  const cache = join(tmpdir(), name);
  await mkdir(cache, { recursive: true });
  await symlink(cache, join(directory, name));
}
