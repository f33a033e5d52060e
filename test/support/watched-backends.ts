import type { Agent, AgentClient, HoldingKind, Hypervisor, Plugin, RootfsStorage, SlotName, Slots, Vm, VmGrant } from "tapvisor/plugin";
import { signalProcess } from "tapvisor/plugin";
import { agentGrpc } from "tapvisor/plugins/agent-grpc";
import { guestLinux } from "tapvisor/plugins/guest-linux";
import { hypervisorQemu } from "tapvisor/plugins/hypervisor-qemu";
import { rootfsDir } from "tapvisor/plugins/rootfs-dir";

/** A call into a backend, as it is about to be made and when it has had its effect. */
export interface BackendEvent {
  /** `hypervisor.vm.acquire`, `agent.createContainer`, … */
  readonly call: string;
  readonly when: "before" | "after";
}

/** What it throws is thrown by the call; the call waits for it. */
export type BackendWatch = (event: BackendEvent) => void | Promise<void>;

export interface WatchedBackends {
  /** They take the places of the preset's plugins of the same names. */
  readonly plugins: readonly Plugin[];
  /** The VM and the agent's client that a sandbox got last. */
  grant(sandbox: string): VmGrant;
  client(sandbox: string): AgentClient;
  killQemu(sandbox: string): Promise<void>;
}

/** Requests of the agent that end with a release or a step; the streams of a process are not watched. */
const AGENT_CALLS = [
  "createSandbox",
  "destroySandbox",
  "guestDetails",
  "createContainer",
  "startContainer",
  "removeContainer",
  "signalProcess",
  "pauseContainer",
  "resumeContainer",
  "updateContainer",
  "syncResources",
  "findDisk",
  "releaseDisk",
] as const;

/** The name of the container that looks around in the guest: it also gets to see where the guest mounts shares. */
export const OBSERVER = "observer";

/** The real backends of preset `qemu`, each call announced before and after its effect. */
export function watchedBackends(watch: BackendWatch = () => {}): WatchedBackends {
  const clients = new Map<string, AgentClient>();
  const grants = new Map<string, VmGrant>();
  const around = async <T>(call: string, work: () => Promise<T>): Promise<T> => {
    await watch({ call, when: "before" });
    const result = await work();
    await watch({ call, when: "after" });
    return result;
  };
  const holding = <I, G>(name: string, kind: HoldingKind<I, G>): HoldingKind<I, G> => ({
    acquire: (intent, call) => around(`${name}.acquire`, () => kind.acquire(intent, call)),
    release: (held, call) => around(`${name}.release`, () => kind.release(held, call)),
  });

  const sized = (vm: Vm): Vm => {
    const { sizing } = vm;
    if (!sizing) return vm;
    return {
      ...vm,
      sizing: {
        size: (call) => sizing.size(call),
        resizeVcpus: (target, call) => around("hypervisor.resizeVcpus", () => sizing.resizeVcpus(target, call)),
        resizeMemory: (target, call) => around("hypervisor.resizeMemory", () => sizing.resizeMemory(target, call)),
      },
    };
  };
  const hypervisor = (real: Hypervisor): Hypervisor => ({
    ...real,
    connect: (grant, call) => {
      grants.set(grant.sandbox, grant);
      return around("hypervisor.connect", async () => sized(await real.connect(grant, call)));
    },
    holdings: {
      vm: holding("hypervisor.vm", real.holdings.vm),
      ...(real.holdings.share ? { share: holding("hypervisor.share", real.holdings.share) } : {}),
      ...(real.holdings.disk ? { disk: holding("hypervisor.disk", real.holdings.disk) } : {}),
    },
  });
  const rootfs = (real: RootfsStorage): RootfsStorage => ({ ...real, holdings: { rootfs: holding("rootfs", real.holdings.rootfs) } });
  const client = (real: AgentClient): AgentClient => {
    const watched = Object.fromEntries(
      AGENT_CALLS.map((name) => {
        const method = real[name] as (...args: unknown[]) => Promise<unknown>;
        return [name, (...args: unknown[]) => around(`agent.${name}`, () => method(...args))];
      }),
    ) as Pick<AgentClient, (typeof AGENT_CALLS)[number]>;
    const { identity } = real;
    return {
      ...real,
      ...watched,
      ...(identity && { identity: { ...identity, renew: (...args) => around("agent.renew", () => identity.renew(...args)) } }),
      createContainer: (request, call) =>
        request.container === OBSERVER ? real.createContainer(withShares(request), call) : watched.createContainer(request, call),
    };
  };
  const agent = (real: Agent): Agent => ({
    ...real,
    connect: async (target, call) => {
      const made = client(await around("agent.connect", () => real.connect(target, call)));
      clients.set(target.sandbox, made);
      return made;
    },
  });

  const plugins = [
    changed(hypervisorQemu(), "hypervisor", hypervisor),
    changed(guestLinux(), "guest", (real) => ({ ...real, prepare: (...args) => around("guest.prepare", () => real.prepare(...args)) })),
    changed(agentGrpc(), "agent", agent),
    changed(rootfsDir(), "rootfs", rootfs),
  ];
  const grant = (sandbox: string) => known(grants, sandbox);
  return {
    plugins,
    grant,
    client: (sandbox) => known(clients, sandbox),
    async killQemu(sandbox) {
      const identity = grant(sandbox).process;
      if (!identity || !(await signalProcess(identity, "SIGKILL"))) throw new Error("there is no QEMU to kill");
    },
  };
}

function known<T>(all: ReadonlyMap<string, T>, sandbox: string): T {
  const found = all.get(sandbox);
  if (found === undefined) throw new Error(`sandbox ${sandbox} has no VM yet`);
  return found;
}

/** The plugin, with what it provides for a slot changed. */
function changed<S extends SlotName>(plugin: Plugin, slot: S, change: (real: Slots[S]) => Slots[S]): Plugin {
  return {
    ...plugin,
    apply: (context) =>
      plugin.apply({
        ...context,
        provide: (itsSlot, name, make) =>
          context.provide(itsSlot, name, async () => {
            const made = await make();
            return (itsSlot as SlotName) === slot ? (change(made as unknown as Slots[S]) as unknown as typeof made) : made;
          }),
      }),
  };
}

type Request = Parameters<AgentClient["createContainer"]>[0];

function withShares(request: Request): Request {
  const shares = {
    destination: "/shares",
    type: "bind",
    source: "/run/kata-containers/shared/containers",
    options: ["rbind", "rprivate", "ro"],
  };
  return { ...request, spec: { ...request.spec, mounts: [...request.spec.mounts, shares] } };
}
