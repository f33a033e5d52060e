import type { GuestDevice, GuestStorage } from "../../contracts/agent.ts";
import type { GuestInterface, GuestNeighbor, GuestRoute } from "../../contracts/agent-network.ts";
import type { GuestFile } from "../../contracts/agent-system.ts";
import type { DiskIntent, GuestDisk, ShareEntry } from "../../contracts/hypervisor.ts";
import type { OciResources } from "../../contracts/oci.ts";
import type { FakeContainer } from "./container.ts";
import type { FakeDisk } from "./disks.ts";
import type { TerminalSize } from "./process.ts";
import type { FakeVm } from "./vm.ts";

/** Everything the fake world holds, as plain data: two snapshots are equal when nothing was left and nothing is missing. */
export interface FakeSnapshot {
  readonly vms: readonly VmSnapshot[];
}

export interface VmSnapshot {
  readonly sandbox: string;
  readonly nonce: string;
  readonly state: FakeVm["state"];
  /** Those that are plugged in. */
  readonly vcpus: number;
  /** Those that the guest runs on: the others are parked. */
  readonly onlineVcpus: number;
  readonly memoryBytes: number;
  readonly detached: boolean;
  readonly views: number;
  readonly agentConnections: number;
  readonly shares: readonly { readonly id: string; readonly entries: readonly ShareEntry[] }[];
  readonly disks: readonly DiskSnapshot[];
  readonly guest: GuestSnapshot;
}

export interface DiskSnapshot extends Pick<DiskIntent, "id" | "path" | "format" | "readonly" | "driver" | "index"> {
  readonly guest: GuestDisk;
}

export interface GuestSnapshot {
  readonly network: {
    readonly interfaces: readonly GuestInterface[];
    readonly routes: readonly GuestRoute[];
    readonly neighbors: readonly GuestNeighbor[];
  };
  /** Those that were copied into it. */
  readonly files: readonly GuestFile[];
  readonly sandbox: { readonly sandbox: string; readonly hostname: string; readonly storages: readonly GuestStorage[] } | null;
  readonly containers: readonly {
    readonly id: string;
    readonly storages: readonly GuestStorage[];
    readonly state: "created" | "running" | "exited";
    readonly paused: boolean;
    readonly exitCode: number | null;
    /** The other processes that run in it. */
    readonly execs: readonly { readonly id: string; readonly args: readonly string[]; readonly terminal: TerminalSize | null }[];
    /** The size of its own process's terminal. */
    readonly terminal: TerminalSize | null;
    readonly devices: readonly GuestDevice[];
    /** Those of its specification, and what updates have made of them. */
    readonly limits: OciResources;
  }[];
}

/** A copy: later changes of the world do not reach it. */
export function snapshotOf(vms: Iterable<FakeVm>): FakeSnapshot {
  return structuredClone({ vms: [...vms].map(vmSnapshot).sort((a, b) => order(a.sandbox, b.sandbox)) });
}

function vmSnapshot({ intent, state, size, views, agentConnections, shares, disks, guest }: FakeVm): VmSnapshot {
  const { sandbox, nonce, detached } = intent;
  return {
    sandbox,
    nonce,
    state,
    vcpus: size.vcpus,
    onlineVcpus: guest.vcpus.online,
    memoryBytes: size.memoryBytes,
    detached,
    views: views.size,
    agentConnections: agentConnections.size,
    shares: [...shares.values()].map(({ id, entries }) => ({ id, entries })).sort((a, b) => order(a.id, b.id)),
    disks: [...disks.values()].map(diskSnapshot).sort((a, b) => order(a.id, b.id)),
    guest: {
      sandbox: guest.sandbox ?? null,
      network: { interfaces: guest.network.interfaces, routes: guest.network.routes, neighbors: guest.network.neighbors },
      files: [...guest.system.files.values()].map(({ file }) => file),
      containers: [...guest.containers].map(containerSnapshot).sort((a, b) => order(a.id, b.id)),
    },
  };
}

function diskSnapshot({ intent: { id, path, format, readonly, driver, index }, guest }: FakeDisk): DiskSnapshot {
  return { id, path, format, readonly, driver, index, guest };
}

function containerSnapshot([id, { request, process, execs, limits }]: readonly [
  string,
  FakeContainer,
]): GuestSnapshot["containers"][number] {
  const { storages, devices = [] } = request;
  const { state, paused, exitCode = null } = process;
  const running = [...execs].filter(([, exec]) => exec.state === "running");
  return {
    id,
    storages,
    state,
    paused,
    exitCode,
    execs: running
      .map(([exec, { spec, size }]) => ({ id: exec, args: spec.args, terminal: size ?? null }))
      .sort((a, b) => order(a.id, b.id)),
    terminal: process.size ?? null,
    devices,
    limits,
  };
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
