import { TapvisorError } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { Holding, Json } from "../contracts/holding.ts";
import type { DiskDriver, DiskIntent } from "../contracts/hypervisor.ts";
import type { SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import { releaseHoldings } from "../engine/release.ts";
import type { Transaction } from "../engine/transaction.ts";
import { hypervisorOf } from "../sandbox/providers.ts";
import { releaseIncomplete } from "../sandbox/stop.ts";
import { vmGrantOf } from "../sandbox/vm-grant.ts";
import type { PluggedDisk } from "./disk-holding.ts";
import { type DeviceGrant, type DeviceIntent, idIn } from "./holding.ts";
import { identifyDevice } from "./identify.ts";

/** The step in which disks are plugged into a running VM. */
export const ATTACH_DEVICES_STEP = "attach-devices";

/** What is to be plugged in, and for whom. */
export interface DiskRequest {
  /** The field that names it, for an error. */
  readonly field: string;
  readonly path: string;
  readonly format: "raw" | "qcow2";
  readonly readonly: boolean;
  readonly driver?: DiskDriver | undefined;
}

/**
 * Refers to a disk for a holder, and plugs it into the VM unless somebody has it plugged in already. Everything acquired belongs to `tx`.
 * @throws INVALID_INPUT, UNSUPPORTED, what the hypervisor throws.
 */
export async function plugDisk(
  sb: SandboxContext,
  tx: Transaction<typeof ATTACH_DEVICES_STEP>,
  holder: { readonly name: string; readonly container?: string },
  request: DiskRequest,
): Promise<PluggedDisk> {
  const { path, format, readonly } = request;
  const driver = await driverFor(sb, request);
  const identity = await identifyDevice(request.field, path);
  await releaseLeftovers(sb, identity);
  const device = await tx.acquire<DeviceIntent, DeviceGrant>(
    ATTACH_DEVICES_STEP,
    { owner: ENGINE, kind: "device" },
    { device: { identity, path, format, readonly, driver }, holder: holder.name },
    DEADLINES.release,
  );
  if (!device.first) return pluggedDisk(sb, device.id);

  const about = { sandbox: sb.id, ...(holder.container === undefined ? {} : { container: holder.container }) };
  await sb.hooks.amend("beforeHotplug", { ...about, kind: "block", action: "plug", request: { path, readonly } });
  const intent: DiskIntent = { sandbox: sb.id, vm: vmGrantOf(sb), id: device.id, path, format, readonly, driver, index: device.index };
  const disk = await tx.acquire<DiskIntent, PluggedDisk>(ATTACH_DEVICES_STEP, { owner: ENGINE, kind: "disk" }, intent, DEADLINES.hotplug);
  await sb.hooks.notify("afterAttach", {
    ...about,
    device: { kind: "block", id: device.id },
    defer: tx.hookDefer(ATTACH_DEVICES_STEP),
  });
  return disk;
}

/** A disk that is plugged in, as its holding tells it. */
export function pluggedDisk(sb: SandboxContext, id: string): PluggedDisk {
  const disk = findPlugged(sb, id);
  if (disk) return disk;
  throw new TapvisorError("INTERNAL", `Cannot find where disk "${id}" is plugged in`, { data: {} });
}

export function findPlugged(sb: SandboxContext, id: string): PluggedDisk | undefined {
  return holdingOf(sb, id)?.grant as PluggedDisk | undefined;
}

/** Notes that the guest has let go of a disk, so that its release need not ask again. */
export function noteLetGo(sb: SandboxContext, id: string): void {
  const held = holdingOf(sb, id);
  if (held) sb.journal.update(held, { grant: { ...(held.grant as Readonly<Record<string, Json>>), letGo: true } });
}

function holdingOf(sb: SandboxContext, id: string): Holding | undefined {
  return sb.journal.record.holdings.find(({ kind, intent, grant }) => kind === "disk" && grant !== undefined && idIn(intent) === id);
}

/** What an earlier unplug of this device has left is tried again first. @throws RELEASE_INCOMPLETE. */
async function releaseLeftovers(sb: SandboxContext, identity: string): Promise<void> {
  const known = Object.values(sb.journal.record.devices).find((device) => device.identity === identity);
  const of = ({ status, kind, intent }: Holding) =>
    status === "failed" &&
    (idIn(intent) === known?.id || (kind === "device" && (intent as unknown as DeviceIntent).device.identity === identity));
  if (!known || !sb.journal.record.holdings.some(of)) return;
  const { left } = await releaseHoldings(sb, of);
  if (left.length > 0) throw releaseIncomplete(known.id, left);
}

/** The driver that a disk is plugged in by. @throws UNSUPPORTED when the hypervisor has it not. */
export async function driverFor(sb: SandboxContext, { driver, path }: DiskRequest): Promise<DiskDriver> {
  const { capabilities } = await sb.engine.slot("hypervisor");
  const known = capabilities.diskDrivers ?? [];
  const chosen = driver ?? known[0];
  if (chosen !== undefined && known.includes(chosen)) return chosen;
  const what = driver === undefined ? "disk hot-plug" : `disks by ${driver}`;
  throw new TapvisorError("UNSUPPORTED", `Cannot plug ${path} into sandbox "${sb.id}": its hypervisor has no ${what}`, {
    data: { what, by: hypervisorOf(sb) },
    ...(known.length > 0 && { hint: `use the driver ${known.join(" or ")}` }),
  });
}
