import { readdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Agent, type Hypervisor, MiB, onceAborted, type VmIntent } from "tapvisor/plugin";
import { type AgentFakeOptions, agentFake } from "tapvisor/plugins/agent-fake";
import { type HypervisorFakeOptions, hypervisorFake } from "tapvisor/plugins/hypervisor-fake";
import {
  type AgentFixture,
  type FakeProcessContext,
  type GuestBehaviour,
  HOSTILE_TEXT,
  type HypervisorFixture,
  quietCall,
} from "tapvisor/testing";
import { containerRequest, fakeWorld, providerOf } from "../../support/fake-guest.ts";

const CONSOLES: Readonly<Record<GuestBehaviour, string>> = {
  quiet: "",
  hostile: HOSTILE_TEXT,
  flood: "A".repeat(1024 * 1024),
};

/** The fake hypervisor in a world of its own; `amend` makes another one of it. */
export async function fakeHypervisorFixture(
  amend: (hypervisor: Hypervisor) => Hypervisor = (same) => same,
  options: HypervisorFakeOptions = {},
): Promise<HypervisorFixture> {
  const { world, rootfs, vmIntent, ...rest } = await fakeWorld();
  const hypervisor = await providerOf<Hypervisor>(hypervisorFake({ ...options, world }), "hypervisor", "fake");
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

/** The vCPUs of a VM whose guest can park one. */
const VCPUS = 2;

/** The fake agent with a running VM; `amend` makes another agent of it. */
export async function fakeAgentFixture(
  amend: (agent: Agent) => Agent = (same) => same,
  options: AgentFakeOptions = {},
): Promise<AgentFixture> {
  const base = await fakeWorld();
  const { world, hypervisor, rootfs, shareIntent } = base;
  const agent = await providerOf<Agent>(agentFake({ ...options, world }), "agent", "fake");
  world.programs["/etc/passwd"] = "not-executable";
  world.programs.stty = async (context) => {
    await writeSize(context);
    return 0;
  };
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
    if (args[2] === "x=a; while :; do x=$x$x; done") {
      const { guest } = world.vm("box") ?? {};
      const { request } = [...(guest?.containers.values() ?? [])].find((each) => each.request.spec.process.args === args) ?? {};
      if (request) guest?.oomKill(request.container);
      return 0;
    }
    if (args[2] === "read line; stty size") {
      for await (const _ of stdin) break;
      await writeSize(context);
      return 0;
    }
    if (args[2] === "while :; do :; done") {
      await onceAborted(context.signal);
      return 0;
    }
    return typeof sh === "function" ? sh(context) : 2;
  };
  const vm = await hypervisor.holdings.vm.acquire({ ...base.vmIntent("box"), vcpus: VCPUS }, quietCall());
  let index = 0;
  return {
    agent: amend(agent),
    extras: options.extras ?? true,
    vcpus: VCPUS,
    async nic() {
      world.vm("box")?.guest.network.plug("eth0", "02:00:00:00:00:01");
      return { name: "eth0", mac: "02:00:00:00:00:01" };
    },
    async disk(id) {
      const path = join(rootfs, `${id}.img`);
      await writeFile(path, "");
      await truncate(path, MiB);
      const { disk } = hypervisor.holdings;
      if (!disk) throw new Error("the fake hypervisor has no disks");
      const intent = { sandbox: "box", vm, id, path, format: "raw", readonly: false, driver: "virtio-scsi", index: index++ } as const;
      return { disk: (await disk.acquire(intent, quietCall())).guest, bytes: MiB };
    },
    target: { sandbox: "box", endpoint: vm.agentEndpoint, runDirectory: vm.runDirectory },
    async container(id, args) {
      await hypervisor.holdings.share.acquire(shareIntent(vm, `share-${id}`), quietCall());
      return containerRequest(id, args);
    },
    cut: async () => world.loseAgent("box"),
    [Symbol.asyncDispose]: () => base[Symbol.asyncDispose](),
  };
}

async function writeSize({ terminal, write }: FakeProcessContext): Promise<void> {
  const { rows, columns } = terminal() ?? { rows: 0, columns: 0 };
  await write(`${rows} ${columns}\n`);
}
