import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createEngine, type Engine, type EngineConfig, type EngineOptions, type Plugin } from "tapvisor";
import { type PresetFakeOptions, presetFake } from "tapvisor/plugins/preset-fake";
import { MemoryState } from "tapvisor/plugins/state-memory";
import { type FakeSnapshot, FakeWorld } from "tapvisor/testing";
import type { SandboxRecord } from "../../src/engine/record.ts";
import type { Injector } from "./injector.ts";
import { tempDirectory } from "./temp.ts";

export interface FakeEngine extends AsyncDisposable {
  readonly engine: Engine;
  readonly world: FakeWorld;
  readonly state: MemoryState;
  /** A directory that serves as a rootfs. */
  readonly rootfs: string;
  /** Two disk images. */
  readonly image: string;
  readonly otherImage: string;
  readonly directory: string;
  readonly templates: NonNullable<EngineOptions["templates"]>;
  /** The script dies as by `kill -9`: its VMs and connections end, and nothing of its engine runs any more. */
  killScript(): void;
  /** Everything that is held anywhere: the world, the records, the files. */
  everything(): Promise<Everything>;
}

export interface Everything {
  readonly world: FakeSnapshot;
  readonly records: readonly SandboxRecord[];
  /** Below the directory of the sandboxes' sockets and logs. */
  readonly files: readonly string[];
  /** What is kept of saved VMs but for whole templates: uses of them, what is being made, disks that were copied, snapshots. */
  readonly saved: readonly string[];
}

export interface FakeEngineOptions {
  readonly plugins?: readonly Plugin[];
  readonly probe?: NonNullable<EngineOptions["probe"]>;
  readonly releaseTimeoutMs?: number;
  /** Sees everything and makes any of it fail; it takes the place of the probe. */
  readonly injector?: Injector;
  /** What the hypervisor and the agent can do; by default vCPUs are unplugged, so that what has been undone is as before. */
  readonly preset?: Pick<PresetFakeOptions, "hypervisor" | "agent">;
  /** Which provider, where plugins offer several. */
  readonly slots?: NonNullable<EngineConfig["slots"]>;
  /** Sandboxes go on from templates, kept below the root; without it they boot. */
  readonly templates?: boolean;
}

const HYPERVISOR = { vcpuRemoval: "unplug", cloneable: true } as const;

/** An engine on the fakes, with a root of its own. */
export async function fakeEngine({
  injector,
  plugins = [],
  preset,
  templates = false,
  slots,
  ...options
}: FakeEngineOptions = {}): Promise<FakeEngine> {
  const directory = await tempDirectory();
  const world = injector?.world() ?? new FakeWorld();
  const state = new MemoryState();
  const rootfs = join(directory.path, "rootfs");
  await mkdir(rootfs);
  const images = ["disk.img", "other.img"].map((name) => join(directory.path, name)) as [string, string];
  for (const path of images) await writeFile(path, Buffer.alloc(4096));
  const root = join(directory.path, "root");
  const kept = templates && { directory: join(root, "templates") };
  const engine = await createEngine({
    preset: presetFake({ world, state, hypervisor: HYPERVISOR, ...preset }),
    root,
    config: slots ? { slots } : {},
    templates: kept,
    plugins: [...(injector?.plugins(state) ?? []), ...plugins],
    ...(injector ? { probe: injector.probe, releaseTimeoutMs: injector.releaseTimeoutMs } : {}),
    ...options,
  });
  let dead = false;
  return {
    engine,
    world,
    state,
    rootfs,
    image: images[0],
    otherImage: images[1],
    directory: directory.path,
    templates: kept,
    killScript() {
      dead = true;
      world.killScript();
    },
    async everything() {
      const files = await readdir(join(root, "run"), { recursive: true }).catch(() => []);
      const records = state.ids().map((id) => withoutCounters(state.get(id) as unknown as SandboxRecord));
      return { world: world.snapshot(), records, files: files.sort(), saved: await savedBelow(directory.path) };
    },
    async [Symbol.asyncDispose]() {
      if (!dead) await engine.close();
      await directory[Symbol.asyncDispose]();
    },
  };
}

async function savedBelow(directory: string): Promise<string[]> {
  const names = await readdir(directory, { recursive: true }).catch(() => []);
  const whole = /^root\/templates(\/[0-9a-f]{64}(\/(memory|state|manifest\.json|users))?)?$|^root\/disks$/;
  return names.filter((name) => /^(root\/(templates|disks)|saved)(\/|$)/.test(name) && !whole.test(name)).sort();
}

/** What a later process sees: the same host and records, an engine of its own, and every recorded owner dead. */
export async function laterProcess({ world, state, directory, templates }: FakeEngine): Promise<Engine> {
  for (const id of state.ids()) {
    const record = state.get(id) as { owner?: { pid: number; startTime: string } | null };
    if (record.owner) state.set(id, { ...record, owner: { ...record.owner, pid: 2 ** 22, startTime: "0" } } as never);
  }
  return createEngine({ preset: presetFake({ world, state, hypervisor: HYPERVISOR }), root: join(directory, "root"), templates });
}

/** What a VM has is recorded when it first changes. Ids of holdings count up for ever, so that they are never reused: they are no part of what is held. */
function withoutCounters(record: SandboxRecord): SandboxRecord {
  const { vcpus, memoryBytes } = record.config;
  const { confirmed: _, ...granted } = record.granted ?? { vcpus, pluggedVcpus: vcpus, memoryBytes };
  return { ...record, nextHolding: 0, granted };
}
