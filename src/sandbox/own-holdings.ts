import { mkdir, rm } from "node:fs/promises";
import { constants } from "node:os";
import { dirname } from "node:path";
import { isAgentStatus } from "../base/errors.ts";
import { type OciHooksGrant, type OciHooksIntent, ociHooks } from "../container/oci-hooks.ts";
import type { GuestContainer } from "../contracts/agent.ts";
import type { HoldingKind } from "../contracts/holding.ts";
import type { VmGrant } from "../contracts/hypervisor.ts";
import type { OciResources } from "../contracts/oci.ts";
import { diskHolding } from "../device/disk-holding.ts";
import { deviceHolding } from "../device/holding.ts";
import type { SandboxContext } from "../engine/context.ts";
import { resourcesHolding } from "../resource/holding.ts";
import { RESOURCES } from "../resource/ledger.ts";
import { snapshotFiles } from "../snapshot/files.ts";
import { standStill } from "../snapshot/stand-still.ts";
import { templateUse } from "../template/use.ts";
import { templateWork } from "../template/work.ts";
import type { GuestLink } from "./guest-link.ts";

export interface RunDirectoryIntent {
  readonly path: string;
}

export interface AgentConnectionIntent {
  readonly vm: VmGrant;
  /** The guest goes on from a template: its first call gives it an identity. */
  readonly goesOn?: true;
}

export interface GuestSandboxIntent {
  readonly vm: VmGrant;
  readonly sandbox: string;
  readonly hostname: string;
}

/** What the journal keeps of a container in the guest: what its removal needs. */
export interface GuestContainerIntent {
  readonly vm: VmGrant;
  readonly container: string;
}

/** What its creation needs on top is known only when its files are plugged in. */
export interface GuestContainerRequest extends GuestContainerIntent {
  readonly request: GuestContainer;
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
    disk: diskHolding(self),
    "guest-limits": {
      acquire: (intent, call) => guest.client.updateContainer(intent.container, intent.after, call),
      release: async ({ intent }, call) => {
        const agent = await guest.reach(intent.vm, call);
        await agent?.updateContainer(intent.container, intent.before, call).catch(unlessAnswered("NOT_FOUND"));
      },
    } satisfies HoldingKind<GuestLimitsIntent, void>,
    "run-directory": runDirectory,
    "stand-still": standStill(guest),
    "snapshot-files": snapshotFiles,
    "template-use": templateUse,
    "template-work": templateWork,
    "oci-hooks": ociHooks(releaseTimeoutMs) satisfies Pick<HoldingKind<OciHooksIntent, OciHooksGrant>, "release">,
    "agent-connection": {
      inProcess: true,
      acquire: async (intent, call) => void (await guest.connectAgent(intent.vm, call, intent.goesOn)),
      release: () => guest.closeAgent(),
    } satisfies HoldingKind<AgentConnectionIntent, void>,
    "guest-sandbox": {
      acquire: (intent, call) => guest.client.createSandbox({ hostname: intent.hostname, sandbox: intent.sandbox, storages: [] }, call),
      release: async ({ intent }, call) => (await guest.reach(intent.vm, call))?.destroySandbox(call),
    } satisfies HoldingKind<GuestSandboxIntent, void>,
    "guest-container": {
      acquire: (intent, call) => guest.client.createContainer(intent.request, call),
      release: async ({ intent }, call) => (await guest.reach(intent.vm, call))?.removeContainer(intent.container, call),
    } satisfies Pick<HoldingKind<GuestContainerRequest, void>, "acquire"> & Pick<HoldingKind<GuestContainerIntent, void>, "release">,
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
    if (!isAgentStatus(error, status)) throw error;
  };
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
