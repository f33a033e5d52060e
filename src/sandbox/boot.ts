import { withDeadline } from "../base/deadline.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import type { Transaction } from "../engine/transaction.ts";
import { pinVcpus } from "../resource/pin-vcpus.ts";
import { renewIdentity } from "../template/renew.ts";
import type { GuestSandboxIntent } from "./own-holdings.ts";
import { runDirectoryOf } from "./paths.ts";
import { startVm } from "./start-vm.ts";

/** The steps that bring a sandbox's VM up, for `create` and for `start` of a stopped sandbox. */
export const BOOT_STEPS = [
  "make-run-directory",
  "prepare-guest",
  "find-template",
  "hold-template",
  "launch-vm",
  "connect-agent",
  "renew-identity",
  "create-guest-sandbox",
] as const;
export type BootStep = (typeof BOOT_STEPS)[number];

/** Those that only a VM takes which goes on from a template. */
export const TEMPLATE_STEPS: readonly BootStep[] = ["find-template", "hold-template", "renew-identity"];

/** Brings the VM up, by a boot or from a template, and connects to its agent; everything it acquires belongs to `tx`. */
export async function bootVm(sb: SandboxContext, tx: Transaction<BootStep>): Promise<void> {
  const { config } = sb.journal.record;
  const runDirectory = runDirectoryOf(sb.engine.root, sb.id);
  await tx.acquire("make-run-directory", { owner: ENGINE, kind: "run-directory" }, { path: runDirectory }, DEADLINES.agent);
  const boot = await tx.run("prepare-guest", DEADLINES.prepareGuest, async (signal) =>
    (await sb.engine.slot("guest")).prepare({ signal, log: sb.log }, (line) => sb.log.info(line)),
  );
  const { vm, origin } = await startVm(sb, tx, { config, boot, runDirectory });
  await withDeadline({ what: "the vCPUs to be pinned", timeoutMs: DEADLINES.hotplug, signal: tx.signal }, (signal) =>
    pinVcpus(sb, { signal, log: sb.log }),
  );
  const renewed =
    origin.from === "template"
      ? await tx.run("renew-identity", DEADLINES.agent, (signal) => renewIdentity(sb, { signal, log: sb.log }))
      : {};
  const intent: GuestSandboxIntent = { vm, sandbox: sb.id, hostname: config.hostname };
  // Both requests travel together: a round trip to an emulated guest takes some 15 ms.
  const [details] = await bothSettled(
    withDeadline({ what: "the guest's details", timeoutMs: DEADLINES.agent, signal: tx.signal }, (signal) =>
      sb.guest.client.guestDetails({ signal, log: sb.log }),
    ),
    tx.acquire<GuestSandboxIntent, void>("create-guest-sandbox", { owner: ENGINE, kind: "guest-sandbox" }, intent, DEADLINES.agent),
  );
  sb.guest.details = details;
  const { memoryBlockBytes, supportsSeccomp, ociExtensions } = details;
  sb.journal.record.memoryBlockBytes = memoryBlockBytes;
  sb.journal.record.guest = { supportsSeccomp, ociExtensions };
  sb.journal.record.origin = { ...origin, ...renewed };
}

/** The results of both; a failure is thrown only when neither runs any more, so that a rollback never overtakes the other. */
async function bothSettled<A, B>(first: Promise<A>, second: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([first, second]);
  return Promise.all([first, second]);
}
