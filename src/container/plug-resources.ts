import { TapvisorError } from "../base/errors.ts";
import { type Bytes, formatBytes } from "../base/units.ts";
import type { ContainerConfig } from "../config/container-config.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { VmSize } from "../contracts/hypervisor.ts";
import type { SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import type { HotplugEvent } from "../engine/hook-events.ts";
import type { Transaction } from "../engine/transaction.ts";
import { RESOURCES, type ResourcesIntent, sizingOf } from "../resource/ledger.ts";
import { NO_SIZE, requestOf } from "../resource/plan.ts";
import { vmGrantOf } from "../sandbox/vm-grant.ts";
import { containerRecord } from "./state.ts";

/** The step in which the VM grows for a container. */
export const PLUG_RESOURCES_STEP = "plug-resources";

/** Has the VM grow for a container's limits. Nothing is acquired when it asks for nothing, or when the VM keeps its size. */
export async function plugResources(
  sb: SandboxContext,
  tx: Transaction<typeof PLUG_RESOURCES_STEP>,
  config: ContainerConfig,
): Promise<void> {
  const request = requestOf(config.resources);
  if (!(await canResize(sb))) return checkFits(sb, request);
  if (request.vcpus === 0 && request.memoryBytes === 0) return;
  const amended = await announceGrowth(sb, config.id, NO_SIZE, request);
  await acquireResources(sb, tx, PLUG_RESOURCES_STEP, config.id, amended);
  for (const kind of pluggedKinds(amended)) {
    await sb.hooks.notify("afterAttach", {
      sandbox: sb.id,
      container: config.id,
      device: { kind, id: config.id },
      defer: tx.hookDefer(PLUG_RESOURCES_STEP),
    });
  }
}

/** Makes a container's request one of those that the VM's size is made of. */
export async function acquireResources<Step extends string>(
  sb: SandboxContext,
  tx: Transaction<Step>,
  step: Step,
  container: string,
  request: VmSize,
): Promise<void> {
  const intent: ResourcesIntent = { vm: vmGrantOf(sb), container, ...request };
  await tx.acquire<ResourcesIntent, void>(step, { owner: ENGINE, kind: RESOURCES }, intent, DEADLINES.hotplug);
}

/** Whether this sandbox's VM grows and shrinks with its containers. */
export async function canResize(sb: SandboxContext): Promise<boolean> {
  const { base, limits } = sizingOf(sb.journal.record);
  const { capabilities } = await sb.engine.slot("hypervisor");
  return capabilities.resize === true && (limits.vcpus > base.vcpus || limits.memoryBytes > base.memoryBytes);
}

/** Tells `beforeHotplug` what is about to be plugged in; a tap may ask for less or more, or veto it. Gives the request as amended. */
export async function announceGrowth(sb: SandboxContext, container: string, before: VmSize, after: VmSize): Promise<VmSize> {
  let { vcpus, memoryBytes } = after;
  const about = { sandbox: sb.id, container, action: "plug" } as const;
  if (vcpus > before.vcpus) {
    const event = await amend(sb, { ...about, kind: "vcpu", request: { count: vcpus - before.vcpus } });
    if (event.kind === "vcpu") vcpus = before.vcpus + event.request.count;
  }
  if (memoryBytes > before.memoryBytes) {
    const event = await amend(sb, { ...about, kind: "memory", request: { bytes: (memoryBytes - before.memoryBytes) as Bytes } });
    if (event.kind === "memory") memoryBytes = (before.memoryBytes + event.request.bytes) as Bytes;
  }
  return { vcpus, memoryBytes };
}

/** Tells `beforeHotplug` what is about to be given back; a veto comes before anything has happened. */
export async function announceShrink(sb: SandboxContext, container: string, before: VmSize, after: VmSize): Promise<void> {
  const about = { sandbox: sb.id, container, action: "unplug" } as const;
  if (after.vcpus < before.vcpus) await amend(sb, { ...about, kind: "vcpu", request: { count: before.vcpus - after.vcpus } });
  const bytes = (before.memoryBytes - after.memoryBytes) as Bytes;
  if (bytes > 0) await amend(sb, { ...about, kind: "memory", request: { bytes } });
}

/** The same for all that a container has asked for. */
export function announceGivingBack(sb: SandboxContext, container: string): Promise<void> {
  return announceShrink(sb, container, requestedBy(sb, container), NO_SIZE);
}

function amend(sb: SandboxContext, event: HotplugEvent): Promise<HotplugEvent> {
  return sb.hooks.amend("beforeHotplug", event);
}

function pluggedKinds({ vcpus, memoryBytes }: VmSize): ("vcpu" | "memory")[] {
  return [...(vcpus > 0 ? (["vcpu"] as const) : []), ...(memoryBytes > 0 ? (["memory"] as const) : [])];
}

/** Where the VM keeps its size, a container's limits have to fit in what it booted with. */
export function checkFits(sb: SandboxContext, request: VmSize): void {
  const { vcpus, memoryBytes } = sb.journal.record.config;
  const refuse = (path: string, asked: string, has: string) =>
    new TapvisorError(
      "UNSUPPORTED",
      `Cannot give container.resources.${path} ${asked}: sandbox "${sb.id}" keeps the size it booted with, ${has}`,
      {
        data: { what: `${path} hot-plug`, by: sb.journal.record.providers.hypervisor },
        hint: `create the sandbox with more ${path}`,
      },
    );
  if (request.vcpus > vcpus) throw refuse("vcpus", String(request.vcpus), String(vcpus));
  if (request.memoryBytes > memoryBytes) throw refuse("memory", formatBytes(request.memoryBytes), formatBytes(memoryBytes));
}

/** What a container asks of the VM now. */
export function requestedBy(sb: SandboxContext, container: string): VmSize {
  const held = sb.journal.record.holdings.some((holding) => holding.kind === RESOURCES && holding.container === container);
  return held ? requestOf(containerRecord(sb, container).config.resources) : NO_SIZE;
}
