import { type BundleOptions, type ContainerConfig, type ContainerOptions, containerConfig } from "../config/container-config.ts";
import { type DeviceOptions, deviceOptions } from "../config/device-config.ts";
import { type UpdateOptions, updatedResources } from "../config/resources-config.ts";
import { requireShares, shareIntent } from "../container/attach-share.ts";
import { mountSources, type SharedMount } from "../container/mount-sources.ts";
import { canResize, checkFits } from "../container/plug-resources.ts";
import { containerRecord } from "../container/state.ts";
import { shareEntries } from "../container/storages.ts";
import type { DiskIntent, PlannedCommand, VmSize } from "../contracts/hypervisor.ts";
import type { RootfsGrant } from "../contracts/rootfs.ts";
import { identifyDevice } from "../device/identify.ts";
import { attachDevice, type Devices, newDevice, SANDBOX } from "../device/manager.ts";
import { type DiskRequest, driverFor } from "../device/plug-disk.ts";
import type { SandboxContext } from "../engine/context.ts";
import type { HotplugEvent } from "../engine/hook-events.ts";
import { ledgerOf, type SandboxResources, sizingOf } from "../resource/ledger.ts";
import { checkMemoryLimit, NO_SIZE, requestOf, targetOf } from "../resource/plan.ts";
import { vmGrantOf } from "../sandbox/vm-grant.ts";

/** One thing that could be done to a sandbox. */
export type PlannedChange =
  | { readonly create: ContainerOptions | BundleOptions }
  | { readonly update: UpdateOptions; readonly container: string }
  /** A container's id. */
  | { readonly stop: string }
  | { readonly addDevice: DeviceOptions };

/** What a change would do. */
export interface Plan {
  readonly sandbox: string;
  /** `create container "web"` say. */
  readonly change: string;
  /** What the hook `beforeHotplug` would be told, in order. */
  readonly hotplugs: readonly HotplugEvent[];
  /** The commands of the hypervisor's control protocol, in order; none when it cannot say. */
  readonly commands: readonly PlannedCommand[];
  readonly before: SandboxResources;
  readonly after: SandboxResources;
}

/**
 * Says what a change would plug in or out, by which commands, and what the ledger would be after it. Nothing is touched and no hook is asked.
 * @throws as the change itself for what it refuses: INVALID_INPUT, VM_LIMIT, UNSUPPORTED.
 */
export async function planChange(sb: SandboxContext, change: PlannedChange): Promise<Plan> {
  if ("create" in change) return planCreate(sb, containerConfig(change.create));
  if ("addDevice" in change) return planDevice(sb, change.addDevice);
  const id = "update" in change ? change.container : change.stop;
  const { config } = containerRecord(sb, id);
  const before = ledgerOf(sb.journal.record);
  const has = before.requests[id] ?? NO_SIZE;
  const wants = "update" in change ? requestOf(updatedResources(config.resources, change.update)) : NO_SIZE;
  const resized = await planResize(sb, id, has, wants);
  return { sandbox: sb.id, change: `${"update" in change ? "update" : "stop"} container "${id}"`, before, ...resized };
}

async function planCreate(sb: SandboxContext, config: ContainerConfig): Promise<Plan> {
  const before = ledgerOf(sb.journal.record);
  const sources = await mountSources(sb.engine.root, config, { dryRun: true });
  const share = await planShare(sb, config, sources.shared);
  const disks = new DiskPlan(sb, config.id);
  const { access, source } = config.rootfs;
  if (source.kind === "block") {
    await disks.add({ field: "container.rootfs", path: source.path, format: source.format ?? "raw", readonly: access !== "shared" });
  }
  for (const use of sources.disks) await disks.add(use);
  const resized = await planResize(sb, config.id, NO_SIZE, requestOf(config.resources));
  return {
    sandbox: sb.id,
    change: `create container "${config.id}"`,
    before,
    after: resized.after,
    hotplugs: [...share.hotplugs, ...disks.hotplugs, ...resized.hotplugs],
    commands: [...share.commands, ...disks.commands, ...resized.commands],
  };
}

async function planDevice(sb: SandboxContext, options: DeviceOptions): Promise<Plan> {
  const ledger = ledgerOf(sb.journal.record);
  const disks = new DiskPlan(sb, undefined);
  const request = deviceOptions(options);
  await disks.add({ field: "device.path", ...request });
  const { hotplugs, commands } = disks;
  return { sandbox: sb.id, change: `add device ${request.path}`, hotplugs, commands, before: ledger, after: ledger };
}

type Effects = Pick<Plan, "hotplugs" | "commands">;

async function planShare(sb: SandboxContext, config: ContainerConfig, mounts: readonly SharedMount[]): Promise<Effects> {
  const { source } = config.rootfs;
  const rootfs: RootfsGrant =
    source.kind === "block"
      ? { type: "block", path: source.path, format: "raw", fstype: "" }
      : { type: "share", directory: source.kind === "directory" ? source.path : source.reference };
  const entries = shareEntries(config, rootfs, mounts);
  if (entries.length === 0) return { hotplugs: [], commands: [] };
  await requireShares(sb);
  const { planner } = await sb.engine.slot("hypervisor");
  return {
    hotplugs: [{ sandbox: sb.id, container: config.id, kind: "share", action: "plug", request: { id: config.id, entries } }],
    commands: planner?.share(shareIntent(sb, config.id, entries)) ?? [],
  };
}

/** The disks of a change, on a copy of the sandbox's table. */
class DiskPlan {
  readonly hotplugs: HotplugEvent[] = [];
  readonly commands: PlannedCommand[] = [];
  readonly #sb: SandboxContext;
  readonly #container: string | undefined;
  readonly #devices: Devices;

  constructor(sb: SandboxContext, container: string | undefined) {
    this.#sb = sb;
    this.#container = container;
    this.#devices = { ...sb.journal.record.devices };
  }

  async add(request: DiskRequest): Promise<void> {
    const sb = this.#sb;
    const { planner } = await sb.engine.slot("hypervisor");
    const driver = await driverFor(sb, request);
    const { path, format, readonly } = request;
    const identity = await identifyDevice(request.field, path);
    const holder = this.#container ?? SANDBOX;
    const { id, index } = newDevice(this.#devices, { identity, path, format, readonly, driver }, holder);
    if (!attachDevice(this.#devices, id, holder).first) return;
    const about = { sandbox: sb.id, ...(this.#container === undefined ? {} : { container: this.#container }) };
    this.hotplugs.push({ ...about, kind: "block", action: "plug", request: { path, readonly } });
    const intent: DiskIntent = { sandbox: sb.id, vm: vmGrantOf(sb), id, path, format, readonly, driver, index };
    this.commands.push(...(planner?.disk(intent) ?? []));
  }
}

/** What a container's new request does to the VM, and the ledger after it. */
async function planResize(sb: SandboxContext, container: string, has: VmSize, wants: VmSize): Promise<Effects & Pick<Plan, "after">> {
  const before = ledgerOf(sb.journal.record);
  if (!(await canResize(sb))) {
    checkFits(sb, wants);
    return { hotplugs: [], commands: [], after: before };
  }
  const { [container]: _, ...others } = before.requests;
  const requests = wants.vcpus > 0 || wants.memoryBytes > 0 ? { ...others, [container]: wants } : others;
  const sizing = sizingOf(sb.journal.record);
  const aim = targetOf(sizing, Object.values(requests));
  checkMemoryLimit(sizing, aim);
  const { target, clampedFrom } = aim;
  const { planner } = await sb.engine.slot("hypervisor");
  const plugged = { vcpus: before.granted.vcpus + before.parkedVcpus, memoryBytes: before.granted.memoryBytes };
  return {
    hotplugs: sizeEvents(sb.id, container, has, wants),
    commands: planner?.resize(plugged, target, sizing.limits) ?? [],
    after: { ...before, requests, target, granted: target, ...(clampedFrom !== undefined && { clampedFrom }) },
  };
}

function sizeEvents(sandbox: string, container: string, has: VmSize, wants: VmSize): HotplugEvent[] {
  const events: HotplugEvent[] = [];
  const [vcpus, bytes] = [wants.vcpus - has.vcpus, wants.memoryBytes - has.memoryBytes];
  const actionOf = (change: number) => (change > 0 ? "plug" : "unplug");
  if (vcpus !== 0) events.push({ sandbox, container, kind: "vcpu", action: actionOf(vcpus), request: { count: Math.abs(vcpus) } });
  if (bytes !== 0)
    events.push({
      sandbox,
      container,
      kind: "memory",
      action: actionOf(bytes),
      request: { bytes: Math.abs(bytes) as VmSize["memoryBytes"] },
    });
  return events;
}
