import { randomBytes } from "node:crypto";
import { mkdir, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Held, Hypervisor, VmGrant, VmIntent, VmMemory } from "tapvisor/plugin";
import { call } from "./world.ts";

export interface FromTemplates {
  /** Whether a VM of this intent can be saved when it has booted; one that says something while it boots says it no more afterwards. */
  readonly wanted: (intent: VmIntent) => boolean;
  readonly booted: (intent: VmIntent, grant: VmGrant) => Promise<void>;
  /** A directory of its own. */
  readonly directory: string;
}

/** The same hypervisor, whose VMs go on from templates, in memory of their own: one is made for each machine that is wanted. */
export function fromTemplates(hypervisor: Hypervisor, { wanted, booted, directory }: FromTemplates): Hypervisor {
  const { vm } = hypervisor.holdings;
  const templates = new Map<string, Promise<{ file: string; state: string }>>();
  const memories = new Map<string, VmMemory>();

  const build = async (intent: VmIntent): Promise<{ file: string; state: string }> => {
    const at = join(directory, randomBytes(6).toString("hex"));
    const [runDirectory, file, state] = [join(at, "run"), join(at, "memory"), join(at, "state")];
    await mkdir(runDirectory, { recursive: true, mode: 0o700 });
    await writeFile(file, "");
    await truncate(file, intent.memoryBytes);
    const template: VmIntent = { ...intent, nonce: randomBytes(16).toString("hex"), runDirectory, memory: { kind: "template", file } };
    try {
      const grant = await vm.acquire(template, call());
      await booted(template, grant);
      const live = await hypervisor.connect(grant, call());
      await live.save?.(state, call());
    } finally {
      await vm.release({ intent: template, grant: undefined }, call());
      await rm(runDirectory, { recursive: true, force: true });
    }
    return { file, state };
  };
  const templateOf = ({ vcpus, memoryBytes, limits, boot, ...intent }: VmIntent) => {
    const key = JSON.stringify({ vcpus, memoryBytes, limits, boot });
    const made = templates.get(key) ?? build({ ...intent, vcpus, memoryBytes, ...(limits && { limits }), boot });
    templates.set(key, made);
    made.catch(() => templates.delete(key)); // what cannot be started is refused each time
    return made;
  };
  const withMemory = (intent: VmIntent): VmIntent => {
    const memory = memories.get(intent.nonce);
    return memory ? { ...intent, memory } : intent;
  };
  return {
    ...hypervisor,
    holdings: {
      ...hypervisor.holdings,
      vm: {
        async acquire(intent, its) {
          if (wanted(intent)) {
            const { file, state } = await templateOf(intent);
            memories.set(intent.nonce, { kind: "copy", file, state, copy: join(directory, `${intent.nonce}.memory`) });
          }
          return vm.acquire(withMemory(intent), its);
        },
        release: ({ intent, grant }: Held<VmIntent, VmGrant>, its) => vm.release({ intent: withMemory(intent), grant }, its),
      },
    },
  };
}
