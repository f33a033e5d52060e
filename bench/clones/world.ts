import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { accessSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createEngine, definePlugin, type Engine, type EngineOptions, type Sandbox, type SandboxOptions, type StepEvent } from "tapvisor";
import type { AgentClient, DiskIntent, GuestContainer, VmIntent } from "tapvisor/plugin";
import { createFsStore } from "../../plugins/state-fs/state-store.ts";
import { makeExampleRootfs } from "../../scripts/example-rootfs.ts";
import { guardExit } from "../../src/engine/exit-guard.ts";
import { providers } from "../../test/plugins/hypervisor-qemu/support/guest-vm.ts";
import { goOn, type HandVm, startByHand } from "./by-hand.ts";

export const SANDBOX: SandboxOptions = { template: true, shares: false };
export const CONTAINER = "first";

/** What the engine asked of QEMU and the guest for one sandbox with one container: a twin asks the very same. */
export interface Asked {
  readonly vm: VmIntent;
  readonly argv: readonly string[];
  readonly disk: DiskIntent;
  readonly container: GuestContainer;
}

/** An engine with a template of its own, and what its twins need. Everything that is made from it ends with it, also by Ctrl-C. */
export interface World extends AsyncDisposable {
  readonly directory: string;
  readonly engine: Engine;
  readonly asked: Asked;
  readonly plugins: Awaited<ReturnType<typeof providers>>;
  readonly accelerator: string;
  /** The root file system of containers. */
  readonly image: string;
  /** Hears of the steps of the engine. */
  listen(heard: ((event: StepEvent) => void) | undefined): void;
  /** A clone by hand, of which QEMU has begun to run the guest. */
  clone(): Promise<HandVm>;
  /** Another QEMU of a running one's command line, with the words of its own in place of the other's. */
  twin(argv: readonly string[], from: VmIntent, state?: string): Promise<HandVm>;
  /** A further engine with the same templates. */
  another(options: EngineOptions): Promise<Engine>;
}

export async function makeWorld(): Promise<World> {
  const directory = mkdtempSync(join(tmpdir(), "tv-bench-"));
  const templates = mkdtempSync(join(isThere("/dev/shm") ? "/dev/shm" : tmpdir(), "tv-bench-"));
  const byHand = new Set<HandVm>();
  const engines = new Set<Engine>();
  let disposing: Promise<void> | undefined;
  const dispose = async () => {
    await Promise.allSettled([...byHand].map((each) => each[Symbol.asyncDispose]()));
    await Promise.allSettled([...engines].map((each) => each.close()));
    for (const each of [directory, templates]) rmSync(each, { recursive: true, force: true });
    unguard();
  };
  const once = () => (disposing ??= dispose());
  const unguard = guardExit(once);
  let heard: ((event: StepEvent) => void) | undefined;
  const another = async (options: EngineOptions) => {
    const engine = await createEngine({ templates: { directory: templates }, ...options });
    engines.add(engine);
    return engine;
  };
  let made = 0;
  const twin = async (argv: readonly string[], from: VmIntent, state?: string) => {
    const place = join(directory, `hand-${++made}`);
    const nonce = randomBytes(16).toString("hex");
    const own = argv.map((word) => word.replaceAll(from.runDirectory, place).replaceAll(from.nonce, nonce));
    const vm = await startByHand(own, place, state);
    byHand.add(vm);
    const end = async () => {
      byHand.delete(vm);
      await vm[Symbol.asyncDispose]();
    };
    return { ...vm, [Symbol.asyncDispose]: end };
  };
  try {
    const image = makeImage(directory);
    const root = join(directory, "r");
    const requests: GuestContainer[] = [];
    const engine = await another({
      root,
      probe: (event) => heard?.(event),
      plugins: [seenAgent(requests)],
      config: { slots: { agent: "seen" } },
    });
    const { accelerator, ...asked } = await ask(engine, root, image, requests);
    const { memory } = asked.vm;
    if (memory?.kind !== "clone") throw new Error("the sandbox is no clone");
    return {
      directory,
      engine,
      asked,
      accelerator,
      plugins: await providers(directory),
      image,
      listen: (listener) => {
        heard = listener;
      },
      twin,
      clone: async () => {
        const vm = await twin(asked.argv, asked.vm, memory.state);
        await goOn(vm).catch(async (error) => {
          await vm[Symbol.asyncDispose]();
          throw error;
        });
        return vm;
      },
      another,
      [Symbol.asyncDispose]: once,
    };
  } catch (error) {
    await once();
    throw error;
  }
}

/** Runs a container that prints a line, and resolves with that line. */
export async function firstLine(sandbox: Sandbox, block: string): Promise<string | undefined> {
  await sandbox.start();
  const container = await sandbox.run({ id: CONTAINER, rootfs: { block }, command: ["echo", "first line"] });
  for await (const line of container.stdout.lines()) return line;
  return undefined;
}

/** The command line of a running process. */
export function argvOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
}

export async function pidOf(engine: Engine, { id }: { readonly id: string }): Promise<number> {
  const { vm } = await engine.inspect(id);
  return vm?.pid ?? Number.NaN;
}

async function ask(engine: Engine, root: string, image: string, requests: readonly GuestContainer[]) {
  await using sandbox = await engine.createSandbox(SANDBOX);
  await firstLine(sandbox, image);
  const record = await createFsStore({ directory: join(root, "state") }).read(sandbox.id);
  const { holdings } = record as unknown as { readonly holdings: readonly { readonly kind: string; readonly intent: unknown }[] };
  const intentOf = (kind: string) => holdings.find((each) => each.kind === kind)?.intent;
  const { vm } = await engine.inspect(sandbox.id);
  const container = requests[0];
  if (!vm?.pid || !container) throw new Error("there is no VM, or no container");
  return {
    accelerator: vm.accelerator,
    argv: argvOf(vm.pid),
    vm: intentOf("vm") as VmIntent,
    disk: intentOf("disk") as DiskIntent,
    container,
  };
}

/** The agent `grpc`, whose requests to create a container are kept. */
function seenAgent(requests: GuestContainer[]) {
  return definePlugin("seen-agent", (ctx) => {
    ctx.provide("agent", "seen", async () => {
      const agent = await ctx.use("agent", "grpc");
      return {
        ...agent,
        connect: async (...args: Parameters<typeof agent.connect>) => {
          const client = await agent.connect(...args);
          const createContainer: AgentClient["createContainer"] = (request, call) => {
            if (requests.length === 0) requests.push(request);
            return client.createContainer(request, call);
          };
          return { ...client, createContainer };
        },
      };
    });
  })();
}

function makeImage(directory: string): string {
  const rootfs = join(directory, "rootfs");
  makeExampleRootfs(rootfs);
  const image = join(directory, "rootfs.img");
  const env = { ...process.env, PATH: `${process.env.PATH}:/sbin:/usr/sbin` };
  execFileSync("mkfs.ext4", ["-q", "-d", rootfs, image, "32M"], { env });
  return image;
}

function isThere(path: string): boolean {
  try {
    accessSync(path);
    return true;
  } catch {
    return false;
  }
}
