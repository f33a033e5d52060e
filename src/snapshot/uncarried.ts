import { TapvisorError } from "../base/errors.ts";
import type { Holding } from "../contracts/holding.ts";
import type { SandboxContext } from "../engine/context.ts";
import { RESOURCES } from "../resource/ledger.ts";

/** What a sandbox that goes on from another holds in its turn: each is in the VM's memory, or on disks that are copied. */
export const CARRIED = ["guest-sandbox", "device", "disk", RESOURCES, "guest-container", "guest-process"];
/** What it gets anew, or needs no more: a rootfs that was copied to a disk is copied with the disk, and what a hook's tap registered is that tap's. */
const ANEW = ["run-directory", "vm", "agent-connection", "template-use", "snapshot-files", "rootfs", "deferred"];

/**
 * Refuses a sandbox of which something cannot be carried over: what the host shares with it or lends to it is not in its memory.
 * @throws UNSUPPORTED, INVALID_STATE, before anything has happened.
 */
export async function refuseUncarried(sb: SandboxContext, verb: string): Promise<void> {
  const { capabilities } = await sb.engine.slot("hypervisor");
  const { record } = sb.journal;
  if (!capabilities.snapshots) throw unsupported(sb, verb, `the hypervisor ${record.providers.hypervisor} cannot save a VM whole`);
  if (!sb.guest.client.identity) throw unsupported(sb, verb, "its guest cannot take on a new identity");
  for (const holding of record.holdings) refuseHolding(sb, verb, holding);
  for (const { identity, path } of Object.values(record.devices))
    if (identity.startsWith("b:")) throw unsupported(sb, verb, `${path} is a device of the host`);
  for (const { id, state } of Object.values(record.containers)) {
    if (state === "failed" || state === "creating")
      throw new TapvisorError("INVALID_STATE", `Container "${id}" is ${state}, impossible to ${verb} sandbox "${sb.id}"`, {
        data: { kind: "container", id, state, verb, allowed: ["ready", "running", "paused", "stopped"] },
        hint: "delete the container first",
      });
  }
}

function refuseHolding(sb: SandboxContext, verb: string, { kind, container, owner }: Holding): void {
  if (CARRIED.includes(kind) || ANEW.includes(kind)) return;
  const whose = container === undefined ? "it" : `container "${container}"`;
  if (kind === "share") throw unsupported(sb, verb, `${whose} shares directories of the host`);
  if (kind === "oci-hooks") throw unsupported(sb, verb, `${whose} has OCI hooks, which have been run for it alone`);
  throw unsupported(sb, verb, `${whose} holds a ${kind} of ${owner}`);
}

function unsupported({ id }: SandboxContext, verb: string, why: string): TapvisorError {
  return new TapvisorError("UNSUPPORTED", `Cannot ${verb} sandbox "${id}": ${why}`, {
    data: { what: verb },
    hint: "its containers need disks, { block } as rootfs and mounts, in place of directories of the host",
  });
}
