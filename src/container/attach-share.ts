import { join } from "node:path";
import { TapvisorError } from "../base/errors.ts";
import type { ContainerConfig } from "../config/container-config.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { ShareEntry, ShareGrant, ShareIntent } from "../contracts/hypervisor.ts";
import type { RootfsGrant } from "../contracts/rootfs.ts";
import type { SandboxContext } from "../engine/context.ts";
import type { Transaction } from "../engine/transaction.ts";
import { hypervisorOf } from "../sandbox/providers.ts";
import { vmGrantOf } from "../sandbox/vm-grant.ts";
import type { SharedMount } from "./mount-sources.ts";
import { shareEntries } from "./storages.ts";

/**
 * Plugs one share that holds the container's rootfs and all its mounts: one device, however many mounts. None when everything is on disks.
 * @throws UNSUPPORTED when the hypervisor cannot share directories.
 */
export async function attachShare(
  sb: SandboxContext,
  tx: Transaction<"attach-share">,
  config: ContainerConfig,
  rootfs: RootfsGrant,
  mounts: readonly SharedMount[],
): Promise<ShareGrant | undefined> {
  const entries = shareEntries(config, rootfs, mounts);
  if (entries.length === 0) return undefined;
  await requireShares(sb);
  const asked = { sandbox: sb.id, container: config.id, kind: "share", action: "plug", request: { id: config.id, entries } } as const;
  const amended = (await sb.hooks.amend("beforeHotplug", asked)) as typeof asked;
  const intent = shareIntent(sb, config.id, withAmended(entries, amended.request.entries));
  const from = { owner: hypervisorOf(sb), kind: "share" };
  const share = await tx.acquire<ShareIntent, ShareGrant>("attach-share", from, intent, DEADLINES.hotplug);
  await sb.hooks.notify("afterAttach", {
    sandbox: sb.id,
    container: config.id,
    device: { kind: "share", id: share.id },
    defer: tx.hookDefer("attach-share"),
  });
  return share;
}

/** @throws INVALID_INPUT when the sandbox was created without, UNSUPPORTED when the hypervisor cannot share directories with a running VM. */
export async function requireShares(sb: SandboxContext): Promise<void> {
  if (!sb.journal.record.config.shares) throw noShares(sb);
  const { capabilities } = await sb.engine.slot("hypervisor");
  if (capabilities.shareHotplug) return;
  throw new TapvisorError("UNSUPPORTED", `Cannot share directories with sandbox "${sb.id}": its hypervisor cannot`, {
    data: { what: "share hot-plug", by: hypervisorOf(sb) },
    hint: "give the container disks in place of directories: { block } as rootfs and mounts",
  });
}

function noShares({ id }: SandboxContext): TapvisorError {
  const wanted = "a sandbox that directories can be shared with";
  return new TapvisorError("INVALID_INPUT", `Cannot share directories with sandbox "${id}": it was created with shares: false`, {
    data: { path: "sandbox.shares", value: false, wanted },
    hint: "give the container disks, { block } as rootfs and mounts, or create the sandbox without shares: false",
  });
}

/** What is asked of the hypervisor for a container's share. */
export function shareIntent(sb: SandboxContext, id: string, entries: readonly ShareEntry[]): ShareIntent {
  const vm = vmGrantOf(sb);
  return { sandbox: sb.id, vm, id, directory: join(vm.runDirectory, `share-${id}`), entries };
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
