import { execFile } from "node:child_process";
import { mkdir, readdir, realpath, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import {
  type Call,
  findProcessesByMark,
  type RootfsGrant,
  type RootfsIntent,
  type RootfsSource,
  type RootfsStorage,
} from "tapvisor/plugin";
import { rootfsBlock } from "tapvisor/plugins/rootfs-block";
import { quietCall } from "tapvisor/testing";
import { providerOf } from "../../support/fake-guest.ts";
import { tempDirectory } from "../../support/temp.ts";

const execute = promisify(execFile);

/** Runs a program of the host to its end; an administrator's programs are found too. */
export async function run(program: string, ...args: readonly string[]): Promise<string> {
  const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;
  return (await execute(program, args, { env: { ...process.env, PATH } })).stdout;
}

/** The storage on a state directory of its own, with a place for sources beside it. */
export async function rootfsWorld() {
  const temporary = await tempDirectory();
  const top = await realpath(temporary.path);
  const [state, files] = [join(top, "state"), join(top, "files")];
  for (const each of [state, files]) await mkdir(each);
  const storage = await providerOf<RootfsStorage>(rootfsBlock(), "rootfs", "block", state);
  const { rootfs: holding } = storage.holdings;
  return {
    top,
    state,
    files,
    storage,
    holding,
    acquire: (intent: RootfsIntent, call: Call = quietCall({ timeoutMs: 30_000 })) => holding.acquire(intent, call),
    release: (intent: RootfsIntent) => holding.release({ intent, grant: undefined }, quietCall()),
    /** Everything below the state directory but the directory that all images lie in. */
    left: async () => (await filesBelow(state)).filter((name) => name !== "rootfs-block"),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

/** The same with a directory to copy. */
export async function copyWorld() {
  const base = await rootfsWorld();
  const tree = join(base.files, "tree");
  await mkdir(tree);
  return {
    ...base,
    tree,
    /** The files of a granted image, taken out of it. */
    async contents(grant: RootfsGrant): Promise<string> {
      if (grant.type !== "block") throw new Error("wanted a disk");
      const out = join(base.files, "out");
      await run("fsck.erofs", `--extract=${out}`, "--preserve-perms", "--no-preserve-owner", grant.path);
      return out;
    },
    /** A tree whose copying takes many seconds and no space. */
    async makeSlow(): Promise<void> {
      await writeFile(join(tree, "slow"), "");
      await truncate(join(tree, "slow"), 20 * 2 ** 30);
    },
    /** Whether mkfs.erofs is writing now. */
    writing: async () => (await base.left()).some((name) => name.endsWith(".part")),
    programs: () => findProcessesByMark(base.state),
  };
}

export function intentOf(source: RootfsSource, more: Partial<RootfsIntent> = {}): RootfsIntent {
  return { sandbox: "box", container: "web", access: "copy-on-write", source, ...more };
}

export const directoryIntent = (path: string, more?: Partial<RootfsIntent>) => intentOf({ kind: "directory", path }, more);

/** A small ext4 image, made by the host's own mkfs. */
export async function makeExt4(path: string): Promise<string> {
  await run("mkfs.ext4", "-q", "-F", path, "4M");
  return path;
}

/** The names of all files below a directory, sorted; none when it is not there. */
export async function filesBelow(directory: string): Promise<readonly string[]> {
  return (await readdir(directory, { recursive: true })).sort();
}

/** Looks again and again for what nothing announces; the test's own deadline ends it. */
export async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await delay(5, undefined, { ref: false });
}
