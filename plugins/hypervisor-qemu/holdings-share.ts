import {
  type Call,
  checkId,
  type Held,
  type HoldingKind,
  type ShareGrant,
  type ShareIntent,
  TapvisorError,
  type VmGrant,
} from "tapvisor/plugin";
import { inLiveVm } from "./in-live-vm.ts";
import { leaseMachine } from "./machines.ts";
import type { QemuOptions } from "./options.ts";
import { plugShare, unplugShare } from "./share-device.ts";
import { checkEntries } from "./share-entries.ts";
import { startShareServer, stopShareServer } from "./share-server.ts";
import { userOf, type VmDetails } from "./size-limits.ts";
import { socketFor } from "./socket-for.ts";

/** Host directories in the guest: a virtiofsd that serves them, and a vhost-user-fs device plugged into the running VM. */
export function shareHolding(options: QemuOptions): HoldingKind<ShareIntent, ShareGrant> {
  return { acquire: (intent, call) => acquire(options, intent, call), release };
}

async function acquire(options: QemuOptions, intent: ShareIntent, call: Call): Promise<ShareGrant> {
  const { vm, directory } = intent;
  const id = checkId("share.id", intent.id);
  if ((vm.details as VmDetails | undefined)?.memory === "clone") throw notShared(vm);
  const user = userOf(vm);
  const entries = await checkEntries(intent.entries);
  await using lease = await leaseMachine(vm);
  const { machine } = lease;
  try {
    const { diesWithThisProcess } = machine;
    const server = await startShareServer({ id, nonce: vm.nonce, directory, entries, diesWithThisProcess, ...(user && { user }) }, options);
    await plugShare(machine, id, socketFor(vm, server.socket), server.failed, call);
    return { id, guest: { fstype: "virtiofs", source: id, driver: "virtio-fs" }, process: server.process };
  } catch (error) {
    await stopShareServer(undefined, vm.nonce, id, directory).catch((failed: unknown) =>
      call.log.error({ err: failed, share: id }, "the share's server is left"),
    );
    throw error;
  }
}

async function release({ intent, grant }: Held<ShareIntent, ShareGrant>, call: Call): Promise<void> {
  const { vm, directory } = intent;
  const id = checkId("share.id", intent.id);
  const refusal = await inLiveVm(vm, (machine) => unplugShare(machine, id, call.signal)).then(
    () => undefined,
    (error: unknown) => error,
  );
  // Also when the guest keeps the device: the host's files are out of its reach then.
  await stopShareServer(grant?.process ?? undefined, vm.nonce, id, directory);
  if (refusal !== undefined) throw refusal;
}

/** A share's server works in the guest's memory, and would not see what a clone has written into its own copy of it. */
function notShared({ sandbox }: VmGrant): TapvisorError {
  return new TapvisorError("UNSUPPORTED", `Cannot share directories with sandbox "${sandbox}": its memory is a copy of a template's`, {
    data: { what: "shares of a clone", by: "qemu" },
    hint: "give the container its files on disks",
  });
}
