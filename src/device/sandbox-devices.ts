import { withDeadline } from "../base/deadline.ts";
import { TapvisorError } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import { deviceOptions } from "../config/device-config.ts";
import type { Holding } from "../contracts/holding.ts";
import type { DiskDriver } from "../contracts/hypervisor.ts";
import type { SandboxContext } from "../engine/context.ts";
import { releaseHoldings } from "../engine/release.ts";
import { transact } from "../engine/transaction.ts";
import { exclusively } from "../sandbox/exclusively.ts";
import { requireSandbox } from "../sandbox/state.ts";
import { releaseIncomplete } from "../sandbox/stop.ts";
import { releaseInGuest } from "./disk-holding.ts";
import { type DeviceGrant, idIn } from "./holding.ts";
import { deviceOf, nameOf, SANDBOX } from "./manager.ts";
import { ATTACH_DEVICES_STEP, findPlugged, noteLetGo, plugDisk, pluggedDisk } from "./plug-disk.ts";

/** A disk of a sandbox's VM. */
export interface Device {
  readonly id: string;
  readonly path: string;
  readonly format: "raw" | "qcow2";
  readonly readonly: boolean;
  readonly driver: DiskDriver;
  /** What the guest calls it, `/dev/sda` say; absent for a guest that cannot say. */
  readonly node?: string;
  /** The containers that have it, by id. */
  readonly containers: readonly string[];
}

/** The steps of plugging a disk into a sandbox's VM. */
export const ADD_DEVICE_STEPS = [ATTACH_DEVICES_STEP, "commit"] as const;

/** Plugs a disk into the VM for the sandbox itself; one that is plugged in already is referred to once more. A failure leaves nothing. */
export async function addDevice(sb: SandboxContext, options: unknown, signal: AbortSignal | undefined): Promise<Device> {
  const request = { field: "device.path", ...deviceOptions(options) };
  return exclusively(sb, signal, async () => {
    requireSandbox(sb, "add a device", "ready", "running");
    return transact(sb, { name: "add device", steps: ADD_DEVICE_STEPS, sandbox: sb.id, signal }, async (tx) => {
      const { id } = await plugDisk(sb, tx, { name: SANDBOX }, request);
      await tx.run("commit", DEADLINES.release, () => sb.journal.save());
      return describe(sb, id);
    });
  });
}

/**
 * Takes a disk out of the VM that `addDevice` has plugged in.
 * @throws DEVICE_NOT_FOUND, DEVICE_NOT_ATTACHED, DEVICE_ATTACHED while a container has it, DEVICE_IN_USE while the guest uses it; RELEASE_INCOMPLETE.
 */
export function removeDevice(sb: SandboxContext, id: string, signal: AbortSignal | undefined): Promise<void> {
  return exclusively(sb, signal, async () => {
    requireSandbox(sb, "remove a device", "ready", "running");
    if (await finishesEarlier(sb, id)) return;
    const device = deviceOf(sb.journal.record.devices, id);
    const reference = referenceTo(sb, id);
    const others = device.attachments.filter((holder) => holder !== SANDBOX);
    const last = device.attachments.length - others.length === 1;
    if (last && others.length > 0) {
      throw new TapvisorError("DEVICE_ATTACHED", `Cannot remove device "${id}" (${device.path}): ${others.map(nameOf).join(", ")} has it`, {
        data: { id, holders: others },
        hint: "remove the container first",
      });
    }
    const of = (holding: Holding) => holding.id === reference.id || (last && holding.kind === "disk" && idIn(holding.intent) === id);
    if (last) await announceAndLetGo(sb, id, signal);
    const { left } = await releaseHoldings(sb, of);
    if (left.length > 0) throw releaseIncomplete(id, left);
  });
}

/** Whether an earlier removal of this device got almost to its end: what was left of it, or its record, is tried again. */
async function finishesEarlier(sb: SandboxContext, id: string): Promise<boolean> {
  if (Object.hasOwn(sb.journal.record.devices, id)) return false;
  const of = ({ intent }: Holding) => idIn(intent) === id;
  if (!sb.journal.record.holdings.some(of)) return sb.journal.saveIfStale();
  const { left } = await releaseHoldings(sb, of);
  if (left.length > 0) throw releaseIncomplete(id, left);
  return true;
}

/** The guest is asked first: when it still uses the disk nothing has been touched. */
async function announceAndLetGo(sb: SandboxContext, id: string, signal: AbortSignal | undefined): Promise<void> {
  const { path, readonly } = deviceOf(sb.journal.record.devices, id);
  await sb.hooks.amend("beforeHotplug", { sandbox: sb.id, kind: "block", action: "unplug", request: { path, readonly } });
  const disk = findPlugged(sb, id);
  if (!disk) return;
  await withDeadline({ what: `the guest to let go of disk "${id}"`, timeoutMs: DEADLINES.agent, signal }, (inner) =>
    releaseInGuest(sb.guest.client, disk, { signal: inner, log: sb.log }),
  );
  noteLetGo(sb, id);
}

/** @throws DEVICE_NOT_ATTACHED when only containers have it. */
function referenceTo(sb: SandboxContext, id: string): Holding {
  const found = sb.journal.record.holdings.findLast(
    ({ kind, container, grant }) => kind === "device" && container === undefined && (grant as DeviceGrant | undefined)?.id === id,
  );
  if (found) return found;
  throw new TapvisorError("DEVICE_NOT_ATTACHED", `Cannot remove device "${id}": the sandbox itself has not attached it`, {
    data: { id },
    hint: "it goes with the containers that have it",
  });
}

/** Every disk that is plugged into the VM, whoever has it. */
export function listDevices(sb: SandboxContext): Device[] {
  const plugged = ({ kind, grant }: Holding) => kind === "disk" && grant !== undefined;
  return sb.journal.record.holdings.filter(plugged).map(({ intent }) => describe(sb, idIn(intent) ?? ""));
}

function describe(sb: SandboxContext, id: string): Device {
  const { path, format, readonly, driver, attachments } = deviceOf(sb.journal.record.devices, id);
  const { node } = pluggedDisk(sb, id);
  const containers = [...new Set(attachments.filter((holder) => holder !== SANDBOX))];
  return { id, path, format, readonly, driver, ...(node !== undefined && { node }), containers };
}
