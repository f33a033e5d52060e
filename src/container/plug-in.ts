import { stat } from "node:fs/promises";
import { join } from "node:path";
import { TapvisorError } from "../base/errors.ts";
import type { ContainerConfig } from "../config/container-config.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { ShareEntry, ShareGrant, ShareIntent, VmGrant } from "../contracts/hypervisor.ts";
import type { RootfsGrant, RootfsIntent } from "../contracts/rootfs.ts";
import type { SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import type { Transaction } from "../engine/transaction.ts";
import { hypervisorOf } from "../sandbox/boot.ts";
import type { GuestContainerIntent } from "../sandbox/own-holdings.ts";
import { guestSpec, guestStorages, shareEntries } from "./spec.ts";

/** The steps that plug a container into a running VM, for `create` and for `start` of a stopped container. */
export const PLUG_IN_STEPS = ["prepare-rootfs", "attach-share", "create-guest-container"] as const;
export type PlugInStep = (typeof PLUG_IN_STEPS)[number];

/** Plugs a container's files into the VM and has the agent create it; everything acquired belongs to `tx`. */
export async function plugIn(sb: SandboxContext, tx: Transaction<PlugInStep>, config: ContainerConfig): Promise<void> {
  const vm = vmGrantOf(sb);
  const { source, access } = config.rootfs;
  const owner = await rootfsOwner(sb, source.kind);
  const intent: RootfsIntent = { sandbox: sb.id, container: config.id, source, access };
  const rootfs = await tx.acquire<RootfsIntent, RootfsGrant>("prepare-rootfs", { owner, kind: "rootfs" }, intent, DEADLINES.hotplug);
  const share = await attachShare(sb, tx, config, rootfs, vm);
  const request = {
    container: config.id,
    storages: guestStorages(config, share),
    spec: guestSpec(config, sb.journal.record.config.hostname),
  };
  const from = { owner: ENGINE, kind: "guest-container" };
  await tx.acquire<GuestContainerIntent, void>("create-guest-container", from, { vm, request }, DEADLINES.agent);
}

/** Plugs one share that holds the container's rootfs and all its mounts: one device, however many mounts. */
async function attachShare(
  sb: SandboxContext,
  tx: Transaction<PlugInStep>,
  config: ContainerConfig,
  rootfs: RootfsGrant,
  vm: VmGrant,
): Promise<ShareGrant> {
  const { capabilities } = await sb.engine.slot("hypervisor");
  if (!capabilities.shareHotplug) {
    throw new TapvisorError("UNSUPPORTED", `Cannot share directories with sandbox "${sb.id}": its hypervisor cannot`, {
      data: { what: "share hot-plug", by: hypervisorOf(sb) },
    });
  }
  const entries = shareEntries(config, rootfs.directory, await mountTypes(config));
  const asked = { sandbox: sb.id, container: config.id, kind: "share", action: "plug", request: { id: config.id, entries } } as const;
  const amended = (await sb.hooks.amend("beforeHotplug", asked)) as typeof asked;
  const intent: ShareIntent = {
    sandbox: sb.id,
    vm,
    id: config.id,
    directory: join(vm.runDirectory, `share-${config.id}`),
    entries: withAmended(entries, amended.request.entries),
  };
  const share = await tx.acquire<ShareIntent, ShareGrant>(
    "attach-share",
    { owner: hypervisorOf(sb), kind: "share" },
    intent,
    DEADLINES.hotplug,
  );
  await sb.hooks.notify("afterAttach", {
    sandbox: sb.id,
    container: config.id,
    device: { kind: "share", id: share.id },
    defer: (name, release) => tx.defer("attach-share", `hook:${name}`, release),
  });
  return share;
}

/** A tap may change where an entry comes from and make it read-only; the entries themselves stay. */
function withAmended(
  entries: readonly ShareEntry[],
  amended: readonly { name: string; source: string; readonly: boolean }[],
): ShareEntry[] {
  return entries.map((entry) => {
    const change = amended.find(({ name }) => name === entry.name);
    return change ? { ...entry, source: change.source, readonly: change.readonly } : entry;
  });
}

async function mountTypes(config: ContainerConfig): Promise<ShareEntry["type"][]> {
  return Promise.all(config.mounts.map(({ source }, index) => mountType(source, `mounts.${index}.source`)));
}

async function mountType(source: string, path: string): Promise<ShareEntry["type"]> {
  const found = await stat(source).catch((error: NodeJS.ErrnoException) => error);
  const refuse = (why: string) =>
    new TapvisorError("INVALID_INPUT", `Cannot use container.${path} "${source}": ${why}`, {
      data: { path, value: source, wanted: "an existing directory or file of the host" },
    });
  if (found instanceof Error) throw refuse(found.code === "ENOENT" ? "it does not exist" : found.message);
  if (found.isDirectory()) return "directory";
  if (found.isFile()) return "file";
  throw refuse("it is neither a directory nor a file");
}

/** The first provider that takes this kind of source, the configured one before the others. */
async function rootfsOwner(sb: SandboxContext, kind: "directory" | "image" | "block"): Promise<string> {
  const configured = sb.journal.record.providers.rootfs;
  const names = [configured, ...sb.engine.host.slots.namesOf("rootfs").filter((name) => name !== configured)];
  for (const name of names) {
    if ((await sb.engine.host.slots.get("rootfs", name)).sources.includes(kind)) return `rootfs:${name}`;
  }
  throw new TapvisorError("UNSUPPORTED", `Cannot use a rootfs of kind "${kind}": no loaded plugin takes it`, {
    data: { what: `rootfs ${kind}`, by: names.join(", ") },
    hint: "add a rootfs plugin that takes it, or give a directory",
  });
}

/** The running VM's grant. @throws VM_FAILED when the sandbox holds none. */
export function vmGrantOf(sb: SandboxContext): VmGrant {
  const holding = sb.journal.record.holdings.find(({ kind, grant }) => kind === "vm" && grant !== undefined);
  if (holding) return holding.grant as unknown as VmGrant;
  throw new TapvisorError("VM_FAILED", `Cannot use sandbox "${sb.id}": it has no VM`, { data: { id: sb.id } });
}
