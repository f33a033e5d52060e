import { TapvisorError } from "../base/errors.ts";
import type { ContainerConfig } from "../config/container-config.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { HypervisorCapabilities } from "../contracts/hypervisor.ts";
import type { RootfsGrant, RootfsIntent, RootfsSource, RootfsStorage } from "../contracts/rootfs.ts";
import { ATTACH_DEVICES_STEP, plugDisk } from "../device/plug-disk.ts";
import type { SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import type { Transaction } from "../engine/transaction.ts";
import type { GuestContainerIntent, GuestContainerRequest } from "../sandbox/own-holdings.ts";
import { vmGrantOf } from "../sandbox/vm-grant.ts";
import { attachShare } from "./attach-share.ts";
import { mountSources } from "./mount-sources.ts";
import { PLUG_RESOURCES_STEP, plugResources } from "./plug-resources.ts";
import { seccompOf } from "./seccomp/seccomp-of.ts";
import { guestSpec } from "./spec.ts";
import { guestDevices, guestStorages, mountsAsDevices, type PluggedFiles, type PluggedUse } from "./storages.ts";

/** The steps that plug a container into a running VM, for `create` and for `start` of a stopped container. */
export const PLUG_IN_STEPS = [
  "prepare-rootfs",
  "attach-share",
  ATTACH_DEVICES_STEP,
  PLUG_RESOURCES_STEP,
  "create-guest-container",
] as const;
export type PlugInStep = (typeof PLUG_IN_STEPS)[number];

const GUEST_CONTAINER = { owner: ENGINE, kind: "guest-container" };

/** Plugs a container's files, disks, vCPUs and memory into the VM and has the agent create it; everything acquired belongs to `tx`. */
export async function plugIn(sb: SandboxContext, tx: Transaction<PlugInStep>, config: ContainerConfig): Promise<void> {
  const seccomp = seccompOf(sb, config); // refuses what the guest cannot do before anything is touched
  const inGuest: GuestContainerIntent = { vm: vmGrantOf(sb), container: config.id };
  tx.expect("create-guest-container", GUEST_CONTAINER, inGuest);
  const rootfs = await prepareRootfs(sb, tx, config);
  const sources = await mountSources(sb.engine.root, config);
  const share = await attachShare(sb, tx, config, rootfs, sources.shared);
  const disks = await attachDisks(sb, tx, config, rootfs, sources.disks);
  await plugResources(sb, tx, config);
  const files: PluggedFiles = { rootfs, share, ...disks };
  const request = {
    container: config.id,
    storages: guestStorages(config, files),
    devices: guestDevices(files),
    spec: guestSpec(config, sb.journal.record.config.hostname, rootfs, { seccomp, asDevices: mountsAsDevices(files) }),
  };
  await tx.acquire<GuestContainerRequest, void>("create-guest-container", GUEST_CONTAINER, { ...inGuest, request }, DEADLINES.agent);
}

async function prepareRootfs(sb: SandboxContext, tx: Transaction<PlugInStep>, config: ContainerConfig): Promise<RootfsGrant> {
  const { source, access } = config.rootfs;
  const owner = await rootfsOwner(sb, source.kind);
  const intent: RootfsIntent = { sandbox: sb.id, container: config.id, source, access };
  return tx.acquire<RootfsIntent, RootfsGrant>("prepare-rootfs", { owner, kind: "rootfs" }, intent, DEADLINES.rootfs);
}

/** Plugs all disks of a container in, or none: what had been plugged in when one fails is released with the rest. */
async function attachDisks(
  sb: SandboxContext,
  tx: Transaction<PlugInStep>,
  config: ContainerConfig,
  rootfs: RootfsGrant,
  uses: Awaited<ReturnType<typeof mountSources>>["disks"],
): Promise<Pick<PluggedFiles, "rootDisk" | "disks">> {
  const holder = { name: config.id, container: config.id };
  const readonly = config.rootfs.access !== "shared";
  const root = rootfs.type === "block" && { field: "container.rootfs", path: rootfs.path, format: rootfs.format, readonly };
  const rootDisk = root ? (await plugDisk(sb, tx, holder, root)).guest : undefined;
  const disks: PluggedUse[] = [];
  for (const use of uses) disks.push({ ...use, disk: (await plugDisk(sb, tx, holder, use)).guest });
  return { ...(rootDisk && { rootDisk }), disks };
}

/** The first provider that takes this kind of source and gives what the hypervisor can plug in, the configured one before the others. */
async function rootfsOwner(sb: SandboxContext, kind: RootfsSource["kind"]): Promise<string> {
  const { capabilities } = await sb.engine.slot("hypervisor");
  const configured = sb.journal.record.providers.rootfs;
  const names = [configured, ...sb.engine.host.slots.namesOf("rootfs").filter((name) => name !== configured)];
  let taken = false;
  for (const name of names) {
    const storage = await sb.engine.host.slots.get("rootfs", name);
    if (!storage.sources.includes(kind)) continue;
    if (canPlug(capabilities, storage)) return `rootfs:${name}`;
    taken = true;
  }
  const why = taken ? "its hypervisor cannot plug it in" : "no loaded plugin takes it";
  throw new TapvisorError("UNSUPPORTED", `Cannot use a rootfs of kind "${kind}" in sandbox "${sb.id}": ${why}`, {
    data: { what: `rootfs ${kind}`, by: names.join(", ") },
    hint: taken ? "use a hypervisor that can share directories or plug disks in" : "add a rootfs plugin that takes it, or give a directory",
  });
}

function canPlug({ shareHotplug, diskDrivers = [] }: HypervisorCapabilities, { grants = "share" }: RootfsStorage): boolean {
  return grants === "share" ? shareHotplug : diskDrivers.length > 0;
}
