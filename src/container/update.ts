import { withDeadline } from "../base/deadline.ts";
import type { Bytes } from "../base/units.ts";
import { DEADLINES } from "../config/defaults.ts";
import { type ResourceConfig, updatedResources } from "../config/resources-config.ts";
import type { VmSize } from "../contracts/hypervisor.ts";
import type { SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import { transact } from "../engine/transaction.ts";
import { fitVm } from "../resource/fit-vm.ts";
import { RESOURCES, sizingOf } from "../resource/ledger.ts";
import { requestOf, updateRequest } from "../resource/plan.ts";
import { exclusively } from "../sandbox/exclusively.ts";
import type { GuestLimitsIntent } from "../sandbox/own-holdings.ts";
import { requireSandbox } from "../sandbox/state.ts";
import { vmGrantOf } from "../sandbox/vm-grant.ts";
import { acquireResources, announceGrowth, announceShrink, canResize, checkFits, requestedBy } from "./plug-resources.ts";
import { containerRecord, noteContainer, requireContainer } from "./state.ts";

/** The steps of changing a container's limits: the VM grows before the guest's limits are raised, and shrinks after they are lowered. */
export const UPDATE_CONTAINER_STEPS = ["grow-vm", "update-guest", "shrink-vm", "commit"] as const;

/** What stands in the journal only while limits are being changed. */
export const IN_CHANGE = "guest-limits";
const GUEST_LIMITS = { owner: ENGINE, kind: IN_CHANGE };

/**
 * Changes a container's limits, in the VM, in the guest and in the ledger: all of them, or none.
 * @throws INVALID_INPUT, INVALID_STATE, VM_LIMIT, HOST_LIMIT, AGENT_FAILED when memory that is in use cannot be taken away.
 */
export async function updateContainer(sb: SandboxContext, id: string, options: unknown, signal: AbortSignal | undefined): Promise<void> {
  await exclusively(sb, signal, async () => {
    requireSandbox(sb, "update the container", "ready", "running");
    requireContainer(sb, id, "update", "ready", "running");
    const record = containerRecord(sb, id);
    const before = record.config.resources;
    const after = await amended(sb, id, updatedResources(before, options));
    const [has, wants] = [requestedBy(sb, id), requestOf(after)];
    const resizes = await canResize(sb);
    if (!resizes) checkFits(sb, wants);
    const request = resizes ? await announceGrowth(sb, id, has, wants) : has;
    if (resizes) await announceShrink(sb, id, has, request);

    const operation = { name: "update container", steps: UPDATE_CONTAINER_STEPS, sandbox: sb.id, container: id, signal };
    try {
      await transact(sb, operation, async (tx) => {
        const limits = guestLimits(sb, id, before, after);
        tx.expect("update-guest", GUEST_LIMITS, limits);
        if (resizes && !isSame(request, has)) await acquireResources(sb, tx, "grow-vm", id, request);
        await tx.acquire<GuestLimitsIntent, void>("update-guest", GUEST_LIMITS, limits, DEADLINES.agent);
        await tx.run("shrink-vm", DEADLINES.hotplug, async (inner) => {
          if (resizes) await fitVm(sb, { signal: inner, log: sb.log }, { shrink: true });
        });
        await sb.hooks.notify("afterUpdate", { sandbox: sb.id, container: id, request: requestIn(after) });
        await tx.finish("commit", () => commit(sb, id, after, request));
      });
    } catch (error) {
      if (sb.journal.record.holdings.some(({ container, status }) => container === id && status === "failed")) {
        await noteContainer(sb, id, "failed");
      }
      throw error;
    }
  });
}

/** A tap may change the quota and the memory limit, or veto. */
async function amended(sb: SandboxContext, id: string, after: ResourceConfig): Promise<ResourceConfig> {
  const { request } = await sb.hooks.amend("beforeUpdate", { sandbox: sb.id, container: id, request: requestIn(after) });
  return { ...after, ...request };
}

function requestIn({ vcpus, memoryBytes }: ResourceConfig): { readonly vcpus?: number; readonly memoryBytes?: Bytes } {
  return { ...(vcpus !== undefined && { vcpus }), ...(memoryBytes !== undefined && { memoryBytes }) };
}

/** The same limits twice, as they were and as they will be: each undoes the other. */
function guestLimits(sb: SandboxContext, id: string, before: ResourceConfig, after: ResourceConfig): GuestLimitsIntent {
  const most = sizingOf(sb.journal.record).limits.vcpus;
  return {
    vm: vmGrantOf(sb),
    container: id,
    before: updateRequest(after, before, most),
    after: updateRequest(before, after, most),
  };
}

function isSame(one: VmSize, other: VmSize): boolean {
  return one.vcpus === other.vcpus && one.memoryBytes === other.memoryBytes;
}

/** From here on the new limits are the container's: the earlier request and what could undo the change leave the journal, in one write. */
async function commit(sb: SandboxContext, id: string, resources: ResourceConfig, { vcpus, memoryBytes }: VmSize): Promise<void> {
  const { journal } = sb;
  const record = containerRecord(sb, id);
  const [holdings, config] = [journal.record.holdings, record.config];
  const requests = holdings.filter((each) => each.container === id && each.kind === RESOURCES);
  const keep = vcpus > 0 || memoryBytes > 0 ? requests.at(-1) : undefined;
  journal.record.holdings = holdings.filter(
    (each) => !(each.container === id && each.kind === IN_CHANGE) && (!requests.includes(each) || each === keep),
  );
  record.config = { ...config, resources };
  try {
    await withDeadline({ what: `the new limits of container "${id}" to be stored`, timeoutMs: DEADLINES.release }, () => journal.save());
  } catch (error) {
    journal.record.holdings = holdings; // so that the rollback finds what it has to undo
    record.config = config;
    throw error;
  }
}
