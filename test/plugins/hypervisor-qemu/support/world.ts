import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import pino from "pino";
import type { Call, Hypervisor, PluginContext, ShareIntent, Vm, VmGrant, VmIntent } from "tapvisor/plugin";
import { type HypervisorQemuOptions, hypervisorQemu } from "../../../../plugins/hypervisor-qemu/index.ts";
import { tempDirectory } from "../../../support/temp.ts";
import { haltingKernel } from "./real-mode-kernel.ts";

/** The provider as an engine gets it. */
export async function qemu(options: HypervisorQemuOptions = {}): Promise<Hypervisor> {
  let make: (() => unknown) | undefined;
  const context = {
    provide: (_slot: string, _name: string, factory: () => unknown) => {
      make = factory;
    },
  };
  await hypervisorQemu(options).apply(context as unknown as PluginContext);
  return (await make?.()) as Hypervisor;
}

export function call(timeoutMs = 20_000): Call {
  return { signal: AbortSignal.timeout(timeoutMs), log: pino({ level: "silent" }) };
}

export interface World extends AsyncDisposable {
  readonly hypervisor: Hypervisor;
  readonly directory: string;
  readonly intent: VmIntent;
}

/** A run directory, a kernel in it and the intent to boot it; disposing releases the VM. */
export async function world(kernel: Uint8Array = haltingKernel(), amend: Partial<VmIntent> = {}): Promise<World> {
  const temp = await tempDirectory();
  const runDirectory = join(temp.path, "run");
  await mkdir(runDirectory, { mode: 0o700 });
  const kernelFile = join(temp.path, "kernel");
  await writeFile(kernelFile, kernel);
  const hypervisor = await qemu({ accelerator: "tcg" });
  const intent: VmIntent = {
    sandbox: "test",
    nonce: randomBytes(16).toString("hex"),
    runDirectory,
    vcpus: 1,
    memoryBytes: (64 * 2 ** 20) as VmIntent["memoryBytes"],
    boot: { kernel: kernelFile, kernelParameters: [], agentPort: "agent.channel.0" },
    detached: false,
    ...amend,
  };
  return {
    hypervisor,
    directory: temp.path,
    intent,
    async [Symbol.asyncDispose]() {
      await hypervisor.holdings.vm.release({ intent, grant: undefined }, call());
      await temp[Symbol.asyncDispose]();
    },
  };
}

/** The provider's holdings of shares, which it always has. */
export function shares(hypervisor: Hypervisor): NonNullable<Hypervisor["holdings"]["share"]> {
  if (!hypervisor.holdings.share) throw new Error("no shares");
  return hypervisor.holdings.share;
}

/** A directory with one file, shared read-only as `data`. */
export async function shareIntent(directory: string, vm: VmGrant, id = "web"): Promise<ShareIntent> {
  const source = join(directory, "data");
  await mkdir(source, { recursive: true });
  await writeFile(join(source, "greeting"), "hello");
  const entries = [{ name: "data", source, type: "directory", readonly: true } as const];
  return { sandbox: vm.sandbox, vm, id, directory: join(vm.runDirectory, `share-${id}`), entries };
}

/** Waits, at most 20 s, for something that nothing announces to a test. */
export async function until(holds: () => Promise<boolean>): Promise<void> {
  const { signal } = call();
  while (!(await holds())) await delay(10, undefined, { signal });
}

/** The processes whose command line names this VM: its nonce, or a file in its run directory. A zombie has no command line. */
export async function processesOf({ nonce, runDirectory }: VmIntent): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    const isOurs = commandLine.includes(nonce) || commandLine.includes(`${runDirectory}/`);
    if (isOurs) found.push(`${pid} ${commandLine.replaceAll("\0", " ").slice(0, 1000)}`);
  }
  return found;
}

/** What the console says when nothing more comes. */
export async function lastWords(vm: Vm): Promise<string> {
  for (let before: string | undefined; ; ) {
    const { console } = await vm.diagnostics();
    if (console === before) return console;
    before = console;
    await delay(100);
  }
}
