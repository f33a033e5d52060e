import { randomBytes } from "node:crypto";
import { withDeadline } from "../base/deadline.ts";
import { isTapvisorError, messageOf, TapvisorError } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxConfig } from "../config/sandbox-config.ts";
import type { BootAssets } from "../contracts/guest.ts";
import type { VmGrant, VmIntent } from "../contracts/hypervisor.ts";
import type { SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import type { Transaction } from "../engine/transaction.ts";
import { pinVcpus } from "../resource/pin-vcpus.ts";
import type { GuestSandboxIntent } from "./own-holdings.ts";
import { runDirectoryOf } from "./paths.ts";

/** The steps that bring a sandbox's VM up, for `create` and for `start` of a stopped sandbox. */
export const BOOT_STEPS = ["make-run-directory", "prepare-guest", "launch-vm", "connect-agent", "create-guest-sandbox"] as const;
export type BootStep = (typeof BOOT_STEPS)[number];

/** Boots the VM and connects to its agent; everything it acquires belongs to `tx`. */
export async function bootVm(sb: SandboxContext, tx: Transaction<BootStep>): Promise<void> {
  const { config } = sb.journal.record;
  const runDirectory = runDirectoryOf(sb.engine.root, sb.id);
  await tx.acquire("make-run-directory", { owner: ENGINE, kind: "run-directory" }, { path: runDirectory }, DEADLINES.agent);
  const boot = await tx.run("prepare-guest", DEADLINES.prepareGuest, async (signal) =>
    (await sb.engine.slot("guest")).prepare({ signal, log: sb.log }, (line) => sb.log.info(line)),
  );
  const vm = await launchAndConnect(sb, tx, { config, boot, runDirectory });
  await withDeadline({ what: "the vCPUs to be pinned", timeoutMs: DEADLINES.hotplug, signal: tx.signal }, (signal) =>
    pinVcpus(sb, { signal, log: sb.log }),
  );
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
}

/** The results of both; a failure is thrown only when neither runs any more, so that a rollback never overtakes the other. */
async function bothSettled<A, B>(first: Promise<A>, second: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([first, second]);
  return Promise.all([first, second]);
}

interface Launch {
  readonly config: SandboxConfig;
  readonly boot: BootAssets;
  readonly runDirectory: string;
}

/** The boot watchdog: a guest that does not answer in time is killed and started again, a bounded number of times. */
async function launchAndConnect(sb: SandboxContext, tx: Transaction<BootStep>, launch: Launch): Promise<VmGrant> {
  const { timeoutMs, retries } = launch.config.boot;
  for (let attempt = 0; ; attempt++) {
    const vm = await tx.acquire<VmIntent, VmGrant>(
      "launch-vm",
      { owner: hypervisorOf(sb), kind: "vm" },
      vmIntent(sb, launch),
      DEADLINES.launch,
    );
    try {
      await tx.acquire("connect-agent", { owner: ENGINE, kind: "agent-connection" }, { vm }, timeoutMs);
      return vm;
    } catch (error) {
      const failure = await explain(sb, error);
      const wedged = isTapvisorError(error) && error.code === "TIMEOUT" && failure.data.panic === undefined;
      if (!wedged || attempt >= retries || tx.signal?.aborted) throw isCallers(error) ? error : failure;
      sb.log.warn({ attempt, timeoutMs }, "the guest did not answer; starting the VM again");
      await tx.undo("launch-vm", "connect-agent");
    }
  }
}

function vmIntent(sb: SandboxContext, { config, boot, runDirectory }: Launch): VmIntent {
  const { vcpus, memoryBytes, limits, detached } = config;
  return { sandbox: sb.id, nonce: randomBytes(16).toString("hex"), runDirectory, vcpus, memoryBytes, limits, boot, detached };
}

export function hypervisorOf(sb: SandboxContext): string {
  return `hypervisor:${sb.journal.record.providers.hypervisor}`;
}

function isCallers(error: unknown): boolean {
  return isTapvisorError(error) && error.code === "ABORTED";
}

/** The error of a boot that failed, with what the guest printed: the console is read before the rollback removes it. */
async function explain(sb: SandboxContext, error: unknown): Promise<TapvisorError<"GUEST_BOOT_FAILED">> {
  const { console: consoleText, stderr } = (await sb.guest.lastWords().catch(() => undefined)) ?? { console: "", stderr: "" };
  const panic = /Kernel panic - not syncing: [^\n]*/.exec(consoleText)?.[0];
  const why = panic ?? messageOf(error);
  const last = consoleText.trim() || stderr.trim();
  return new TapvisorError(
    "GUEST_BOOT_FAILED",
    `Cannot boot sandbox "${sb.id}": ${why}${last ? `\n--- last lines of the console ---\n${last}` : ""}`,
    {
      data: { id: sb.id, console: consoleText, ...(panic === undefined ? {} : { panic }) },
      cause: error,
      hint: panic
        ? "the guest's kernel or image is damaged: build it anew with `tapvisor setup`"
        : "run `tapvisor doctor`; a slow machine may need a longer boot.timeoutMs",
    },
  );
}
