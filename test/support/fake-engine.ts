import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { createEngine, type Engine, type EngineOptions, type Plugin } from "tapvisor";
import { presetFake } from "tapvisor/plugins/preset-fake";
import { MemoryState } from "tapvisor/plugins/state-memory";
import { FakeWorld } from "tapvisor/testing";
import { tempDirectory } from "./temp.ts";

export interface FakeEngine extends AsyncDisposable {
  readonly engine: Engine;
  readonly world: FakeWorld;
  readonly state: MemoryState;
  /** A directory that serves as a rootfs. */
  readonly rootfs: string;
  readonly directory: string;
  /** The script dies as by `kill -9`: its VMs and connections end, and nothing of its engine runs any more. */
  killScript(): void;
  /** Everything that is held anywhere: the world, the records, the files. */
  everything(): Promise<unknown>;
}

/** An engine on the fakes, with a root of its own. */
export async function fakeEngine(
  options: { plugins?: readonly Plugin[]; probe?: NonNullable<EngineOptions["probe"]>; releaseTimeoutMs?: number } = {},
): Promise<FakeEngine> {
  const directory = await tempDirectory();
  const world = new FakeWorld();
  const state = new MemoryState();
  const rootfs = join(directory.path, "rootfs");
  await mkdir(rootfs);
  const root = join(directory.path, "root");
  const engine = await createEngine({ preset: presetFake({ world, state }), root, ...options });
  let dead = false;
  return {
    engine,
    world,
    state,
    rootfs,
    directory: directory.path,
    killScript() {
      dead = true;
      world.killScript();
    },
    async everything() {
      const files = await readdir(join(root, "run"), { recursive: true }).catch(() => []);
      const records = state.ids().map((id) => withoutCounters(state.get(id)));
      return { world: world.snapshot(), records, files: files.sort() };
    },
    async [Symbol.asyncDispose]() {
      if (!dead) await engine.close();
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** Ids of holdings count up for ever, so that they are never reused: they are no part of what is held. */
function withoutCounters(record: unknown): unknown {
  return { ...(record as object), nextHolding: 0 };
}
