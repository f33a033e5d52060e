import { stat } from "node:fs/promises";
import { isAbsolute } from "node:path";
import { type HoldingKind, type ShareEntry, type ShareGrant, type ShareIntent, TapvisorError } from "tapvisor/plugin";
import type { FakeWorld } from "tapvisor/testing";
import { liveVm } from "./vm-view.ts";

/** The longest mount tag that virtio-fs takes, bytes less its terminator. */
const MAX_TAG = 31;

/** Host directories plugged into a VM. */
export function shareHolding(world: FakeWorld): HoldingKind<ShareIntent, ShareGrant> {
  return {
    acquire: (intent, call) =>
      world.perform("hypervisor.share.acquire", { sandbox: intent.sandbox }, call.signal, async () => {
        const vm = liveVm(world, intent.vm);
        if (intent.id.length > MAX_TAG) throw refused(`the tag "${intent.id}" is longer than ${MAX_TAG} characters`);
        if (vm.intent.memory?.kind === "clone") throw notShared(intent);
        for (const entry of intent.entries) await check(entry);
        vm.plugShare(intent);
        return { id: intent.id, guest: { fstype: "virtiofs", source: intent.id, driver: "virtio-fs" }, process: null };
      }),
    release: ({ intent }, call) =>
      world.perform("hypervisor.share.release", { sandbox: intent.sandbox }, call.signal, () => {
        const vm = world.vm(intent.sandbox);
        if (vm?.intent.nonce === intent.vm.nonce) vm.shares.delete(intent.id);
      }),
  };
}

async function check({ name, source, type }: ShareEntry): Promise<void> {
  if (name === "" || name.includes("/")) throw refused(`"${name}" is no name of an entry`);
  if (!isAbsolute(source)) throw refused(`${source} is not absolute`);
  const found = await stat(source).catch(() => undefined);
  const fits = type === "directory" ? found?.isDirectory() : found?.isFile();
  if (!fits) throw refused(`${source} is not a ${type}`);
}

function notShared({ sandbox }: ShareIntent): TapvisorError {
  return new TapvisorError("UNSUPPORTED", `Cannot share directories with sandbox "${sandbox}": its memory is a copy of a template's`, {
    data: { what: "shares of a clone", by: "hypervisor-fake" },
  });
}

function refused(reason: string): TapvisorError {
  return new TapvisorError("VM_COMMAND_FAILED", `Cannot plug a share: ${reason}`, {
    data: { command: "device_add", class: "GenericError" },
  });
}
