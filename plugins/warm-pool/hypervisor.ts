import type { DiskIntent, HoldingKind, Hypervisor, HypervisorPlanner, ShareIntent } from "tapvisor/plugin";
import { innerGrant } from "./handed-out.ts";
import type { Pool } from "./pool.ts";
import { vmHolding } from "./vm-holding.ts";

/** Another hypervisor, whole, but for where its VMs come from. */
export function warmHypervisor(over: Hypervisor, pool: Pool): Hypervisor {
  const { share, disk } = over.holdings;
  const { fingerprint, planner } = over;
  return {
    capabilities: over.capabilities,
    inspectHost: (call) => over.inspectHost(call),
    ...(fingerprint && { fingerprint: (call) => fingerprint.call(over, call) }),
    connect: (grant, call) => over.connect(innerGrant(grant), call),
    holdings: {
      vm: vmHolding(over, pool),
      ...(share && { share: insideOf(share) }),
      ...(disk && { disk: insideOf(disk) }),
    },
    ...(planner && { planner: plannerOf(planner) }),
  };
}

/** What is plugged into a VM, which the hypervisor below knows by its own names. */
function insideOf<Intent extends ShareIntent | DiskIntent, Grant>(kind: HoldingKind<Intent, Grant>): HoldingKind<Intent, Grant> {
  return {
    ...(kind.inProcess && { inProcess: kind.inProcess }),
    acquire: (intent, call) => kind.acquire(inner(intent), call),
    release: ({ intent, grant }, call) => kind.release({ intent: inner(intent), grant }, call),
  };
}

function plannerOf(planner: HypervisorPlanner): HypervisorPlanner {
  return {
    share: (intent) => planner.share(inner(intent)),
    disk: (intent) => planner.disk(inner(intent)),
    resize: (from, to, limits) => planner.resize(from, to, limits),
  };
}

function inner<Intent extends ShareIntent | DiskIntent>(intent: Intent): Intent {
  const vm = innerGrant(intent.vm);
  return vm === intent.vm ? intent : { ...intent, sandbox: vm.sandbox, vm };
}
