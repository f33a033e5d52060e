import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Hypervisor, VmIntent } from "tapvisor/plugin";
import { type AgentFixture, type GuestBehaviour, HOSTILE_TEXT, type HypervisorFixture, quietCall } from "tapvisor/testing";
import { containerRequest, fakeWorld } from "../../support/fake-guest.ts";

const CONSOLES: Readonly<Record<GuestBehaviour, string>> = {
  quiet: "",
  hostile: HOSTILE_TEXT,
  flood: "A".repeat(1024 * 1024),
};

/** The fake hypervisor in a world of its own; `amend` makes another one of it. */
export async function fakeHypervisorFixture(amend: (hypervisor: Hypervisor) => Hypervisor = (same) => same): Promise<HypervisorFixture> {
  const { world, hypervisor, rootfs, vmIntent, ...rest } = await fakeWorld();
  const guests = new Map<string, GuestBehaviour>();
  let count = 0;
  return {
    hypervisor: amend(hypervisor),
    directory: rootfs,
    async vmIntent(sandbox, guest): Promise<VmIntent> {
      guests.set(sandbox, guest);
      return { ...vmIntent(sandbox), nonce: `a-nonce-of-this-test-${count++}` };
    },
    async booted({ sandbox }) {
      const vm = world.vm(sandbox);
      if (vm) vm.console = CONSOLES[guests.get(sandbox) ?? "quiet"];
    },
    kill: async ({ sandbox }) => world.killVm(sandbox),
    snapshot: async () => ({ world: world.snapshot(), files: await readdir(join(rootfs, "..")) }),
    [Symbol.asyncDispose]: () => rest[Symbol.asyncDispose](),
  };
}

/** The fake agent with a running VM; `amend` makes another agent of it. */
export async function fakeAgentFixture(
  amend: (agent: AgentFixture["agent"]) => AgentFixture["agent"] = (same) => same,
): Promise<AgentFixture> {
  const base = await fakeWorld();
  const { world, hypervisor, agent, shareIntent } = base;
  world.programs["/etc/passwd"] = "not-executable";
  const { sh } = world.programs;
  world.programs.sh = async (context) => {
    const { args, stdin, write, writeErr } = context;
    if (args[2] === "exec cat") {
      for await (const chunk of stdin) await write(chunk);
      return 0;
    }
    if (args[2] === "echo out; echo err >&2") {
      await write("out\n");
      await writeErr("err\n");
      return 0;
    }
    return typeof sh === "function" ? sh(context) : 2;
  };
  const vm = await base.startVm("box");
  return {
    agent: amend(agent),
    target: { sandbox: "box", endpoint: vm.agentEndpoint, runDirectory: vm.runDirectory },
    async container(id, args) {
      await hypervisor.holdings.share.acquire(shareIntent(vm, `share-${id}`), quietCall());
      return containerRequest(id, args);
    },
    cut: async () => world.loseAgent("box"),
    [Symbol.asyncDispose]: () => base[Symbol.asyncDispose](),
  };
}
