import { mkdir, rm } from "node:fs/promises";
import { constants } from "node:os";
import { dirname } from "node:path";
import { isTapvisorError, TapvisorError } from "../base/errors.ts";
import { type OciHooksGrant, type OciHooksIntent, ociHooks } from "../container/oci-hooks.ts";
import type { AgentClient, GuestContainer } from "../contracts/agent.ts";
import type { Call, HoldingKind } from "../contracts/holding.ts";
import type { GuestDisk, VmGrant } from "../contracts/hypervisor.ts";
import type { OciResources } from "../contracts/oci.ts";
import { deviceHolding } from "../device/holding.ts";
import type { SandboxContext } from "../engine/context.ts";
import { resourcesHolding } from "../resource/holding.ts";
import { RESOURCES } from "../resource/ledger.ts";
import type { GuestLink } from "./guest-link.ts";

export interface RunDirectoryIntent {
  readonly path: string;
}

export interface AgentConnectionIntent {
  readonly vm: VmGrant;
}

export interface GuestSandboxIntent {
  readonly vm: VmGrant;
  readonly sandbox: string;
  readonly hostname: string;
}

export interface GuestContainerIntent {
  readonly vm: VmGrant;
  readonly request: GuestContainer;
}

export interface GuestDiskIntent {
  readonly vm: VmGrant;
  readonly id: string;
  readonly disk: GuestDisk;
}

/** What it is called in the guest; absent for a guest that cannot say. */
export interface GuestDiskGrant {
  readonly node?: string;
}

/** The limits of a container in the guest, while they are being changed. */
export interface GuestLimitsIntent {
  readonly vm: VmGrant;
  readonly container: string;
  readonly before: OciResources;
  readonly after: OciResources;
}

export interface GuestProcessIntent {
  readonly vm: VmGrant;
  readonly container: string;
}

/** The holdings that the engine itself acquires for a sandbox. */
export function ownHoldings(guest: GuestLink, releaseTimeoutMs: number, self: () => SandboxContext) {
  return {
    [RESOURCES]: resourcesHolding(self),
    device: deviceHolding(self),
    "guest-disk": guestDisk(guest),
    "guest-limits": {
      acquire: (intent, call) => guest.client.updateContainer(intent.container, intent.after, call),
      release: async ({ intent }, call) => {
        const agent = await guest.reach(intent.vm, call);
        await agent?.updateContainer(intent.container, intent.before, call).catch(unlessAnswered("NOT_FOUND"));
      },
    } satisfies HoldingKind<GuestLimitsIntent, void>,
    "run-directory": runDirectory,
    "oci-hooks": ociHooks(releaseTimeoutMs) satisfies Pick<HoldingKind<OciHooksIntent, OciHooksGrant>, "release">,
    "agent-connection": {
      inProcess: true,
      acquire: async (intent, call) => void (await guest.connectAgent(intent.vm, call)),
      release: () => guest.closeAgent(),
    } satisfies HoldingKind<AgentConnectionIntent, void>,
    "guest-sandbox": {
      acquire: (intent, call) => guest.client.createSandbox({ hostname: intent.hostname, sandbox: intent.sandbox, storages: [] }, call),
      release: async ({ intent }, call) => (await guest.reach(intent.vm, call))?.destroySandbox(call),
    } satisfies HoldingKind<GuestSandboxIntent, void>,
    "guest-container": {
      acquire: (intent, call) => guest.client.createContainer(intent.request, call),
      release: async ({ intent }, call) => (await guest.reach(intent.vm, call))?.removeContainer(intent.request.container, call),
    } satisfies HoldingKind<GuestContainerIntent, void>,
    "guest-process": {
      acquire: (intent, call) => guest.client.startContainer(intent.container, call),
      release: async ({ intent: { vm, container } }, call) => {
        const agent = await guest.reach(vm, call);
        await agent
          ?.signalProcess({ container, exec: container }, constants.signals.SIGKILL, true, call)
          .catch(unlessAnswered("FAILED_PRECONDITION"));
      },
    } satisfies HoldingKind<GuestProcessIntent, void>,
  };
}

/** The request to start something may have failed before it reached the agent: then there is nothing to end. */
function unlessAnswered(status: string): (error: unknown) => void {
  return (error) => {
    if (!isTapvisorError(error) || error.code !== "AGENT_FAILED" || error.data.status !== status) throw error;
  };
}

/** A disk as the guest has it: it lets go before the disk is unplugged, and refuses while it is in use. */
function guestDisk(guest: GuestLink): HoldingKind<GuestDiskIntent, GuestDiskGrant> {
  return {
    acquire: async ({ disk }, call) => {
      const found = await guest.client.findDisk(disk, call);
      return found ? { node: found.node } : {};
    },
    release: async ({ intent }, call) => {
      const agent = await guest.reach(intent.vm, call);
      if (agent) await releaseInGuest(agent, intent, call);
    },
  };
}

/** Has the guest let go of a disk. @throws DEVICE_IN_USE; nothing has changed then. */
export async function releaseInGuest(agent: AgentClient, { id, disk }: GuestDiskIntent, call: Call): Promise<void> {
  await agent.releaseDisk(disk, call).catch((error: unknown) => {
    if (!isTapvisorError(error) || error.code !== "AGENT_FAILED" || error.data.status !== "FAILED_PRECONDITION") throw error;
    throw new TapvisorError("DEVICE_IN_USE", `Cannot take disk "${id}" out of the VM: ${error.message}`, {
      data: { id, reason: error.message },
      cause: error,
      hint: "unmount it in the guest, or remove the container that uses it, first",
    });
  });
}

/** A private directory for sockets and logs. What an earlier sandbox of the same id may have left there is removed first. */
const runDirectory: HoldingKind<RunDirectoryIntent, void> = {
  async acquire({ path }) {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await rm(path, { recursive: true, force: true });
    await mkdir(path, { mode: 0o700 });
  },
  release: ({ intent }) => rm(intent.path, { recursive: true, force: true }),
};
