import { withDeadline } from "../base/deadline.ts";
import { isAgentStatus, isTapvisorError, messageOf, TapvisorError } from "../base/errors.ts";
import type { AgentClient } from "../contracts/agent.ts";
import type { Call, HoldingKind } from "../contracts/holding.ts";
import type { DiskGrant, DiskIntent, VmGrant } from "../contracts/hypervisor.ts";
import type { SandboxContext } from "../engine/context.ts";

/** Where a disk is, and what the guest calls it where it can say. */
export interface PluggedDisk extends DiskGrant {
  readonly node?: string;
  /** The guest has let go of it already: it is not asked again. */
  readonly letGo?: true;
}

/**
 * A disk in the VM, by the hypervisor's own holding, that the guest has found; the guest lets go of it before it is taken out. While something in the
 * guest uses it, it stays: what has not been written yet would be lost. A guest that does not answer is not waited for.
 */
export function diskHolding(self: () => SandboxContext): HoldingKind<DiskIntent, PluggedDisk> {
  return {
    async acquire(intent, call) {
      const sb = self();
      const grant = await (await hypervisorsDisk(sb)).acquire(intent, call);
      const found = await sb.guest.client.findDisk(grant.guest, call);
      return found ? { ...grant, node: found.node } : grant;
    },
    async release({ intent, grant }, call) {
      const sb = self();
      if (grant && !grant.letGo) await haveGuestLetGo(sb, intent.vm, grant, call);
      await (await hypervisorsDisk(sb)).release({ intent, grant }, call);
    },
  };
}

async function hypervisorsDisk({ engine, journal }: SandboxContext): Promise<HoldingKind<DiskIntent, DiskGrant>> {
  const name = journal.record.providers.hypervisor;
  const { disk } = (await engine.host.slots.get("hypervisor", name)).holdings;
  if (disk) return disk;
  throw new TapvisorError("UNSUPPORTED", `Cannot hold a disk: hypervisor "${name}" has none`, { data: { what: "disks", by: name } });
}

async function haveGuestLetGo(sb: SandboxContext, vm: VmGrant, disk: PluggedDisk, call: Call): Promise<void> {
  const wait = { what: `the guest to let go of disk "${disk.id}"`, timeoutMs: sb.releaseTimeoutMs / 2, signal: call.signal };
  try {
    await withDeadline(wait, async (signal) => {
      const agent = await sb.guest.reach(vm, { ...call, signal });
      if (agent) await releaseInGuest(agent, disk, { ...call, signal });
    });
  } catch (error) {
    if (isTapvisorError(error) && error.code === "DEVICE_IN_USE") throw error;
    sb.log.warn({ disk: disk.id, reason: messageOf(error) }, "the guest could not be asked to let go of a disk");
  }
}

/** Has the guest let go of a disk. @throws DEVICE_IN_USE; nothing has changed then. */
export async function releaseInGuest(agent: AgentClient, { id, guest }: DiskGrant, call: Call): Promise<void> {
  await agent.releaseDisk(guest, call).catch((error: unknown) => {
    if (!isAgentStatus(error, "FAILED_PRECONDITION")) throw error;
    throw new TapvisorError("DEVICE_IN_USE", `Cannot take disk "${id}" out of the VM: ${error.message}`, {
      data: { id, reason: error.message },
      cause: error,
      hint: "unmount it in the guest, or remove the container that uses it, first",
    });
  });
}
