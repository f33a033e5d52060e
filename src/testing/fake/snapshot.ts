import type { GuestStorage } from "../../contracts/agent.ts";
import type { ShareEntry } from "../../contracts/hypervisor.ts";
import type { FakeVm } from "./vm.ts";

/** Everything the fake world holds, as plain data: two snapshots are equal when nothing was left and nothing is missing. */
export interface FakeSnapshot {
  readonly vms: readonly VmSnapshot[];
}

export interface VmSnapshot {
  readonly sandbox: string;
  readonly nonce: string;
  readonly state: FakeVm["state"];
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly detached: boolean;
  readonly views: number;
  readonly agentConnections: number;
  readonly shares: readonly { readonly id: string; readonly entries: readonly ShareEntry[] }[];
  readonly guest: GuestSnapshot;
}

export interface GuestSnapshot {
  readonly sandbox: { readonly sandbox: string; readonly hostname: string; readonly storages: readonly GuestStorage[] } | null;
  readonly containers: readonly {
    readonly id: string;
    readonly storages: readonly GuestStorage[];
    readonly state: "created" | "running" | "exited";
    readonly exitCode: number | null;
  }[];
}

/** A copy: later changes of the world do not reach it. */
export function snapshotOf(vms: Iterable<FakeVm>): FakeSnapshot {
  return structuredClone({ vms: [...vms].map(vmSnapshot).sort((a, b) => order(a.sandbox, b.sandbox)) });
}

function vmSnapshot({ intent, state, views, agentConnections, shares, guest }: FakeVm): VmSnapshot {
  const { sandbox, nonce, vcpus, memoryBytes, detached } = intent;
  return {
    sandbox,
    nonce,
    state,
    vcpus,
    memoryBytes,
    detached,
    views: views.size,
    agentConnections: agentConnections.size,
    shares: [...shares.values()].map(({ id, entries }) => ({ id, entries })).sort((a, b) => order(a.id, b.id)),
    guest: {
      sandbox: guest.sandbox ?? null,
      containers: [...guest.containers]
        .map(([id, { request, process }]) => ({ id, storages: request.storages, state: process.state, exitCode: process.exitCode ?? null }))
        .sort((a, b) => order(a.id, b.id)),
    },
  };
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
