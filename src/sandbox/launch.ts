import { randomBytes } from "node:crypto";
import { isTapvisorError, messageOf, TapvisorError } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxConfig } from "../config/sandbox-config.ts";
import type { BootAssets } from "../contracts/guest.ts";
import type { VmGrant, VmIntent } from "../contracts/hypervisor.ts";
import type { SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import type { Transaction } from "../engine/transaction.ts";
import type { AgentConnectionIntent } from "./own-holdings.ts";
import { hypervisorOf } from "./providers.ts";

export interface Launch {
  readonly config: SandboxConfig;
  readonly boot: BootAssets;
  readonly runDirectory: string;
  /** Absent for a VM that boots with memory of its own. */
  readonly from?: Pick<VmIntent, "memory" | "plugged">;
}

/** The boot watchdog: a guest that does not answer in time is killed and started again, a bounded number of times. */
export async function launchAndConnect(
  sb: SandboxContext,
  tx: Transaction<"launch-vm" | "connect-agent">,
  launch: Launch,
): Promise<VmGrant> {
  const { timeoutMs, retries } = launch.config.boot;
  for (let attempt = 0; ; attempt++) {
    const vm = await tx.acquire<VmIntent, VmGrant>(
      "launch-vm",
      { owner: hypervisorOf(sb), kind: "vm" },
      vmIntent(sb, launch),
      DEADLINES.launch,
    );
    try {
      await tx.acquire("connect-agent", { owner: ENGINE, kind: "agent-connection" }, connection(vm, launch), timeoutMs);
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

function connection(vm: VmGrant, { from }: Launch): AgentConnectionIntent {
  const saved = from?.memory?.kind;
  return saved === "clone" || saved === "copy" ? { vm, goesOn: true } : { vm };
}

function vmIntent(sb: SandboxContext, { config, boot, runDirectory, from }: Launch): VmIntent {
  const { vcpus, memoryBytes, limits, detached } = config;
  return { sandbox: sb.id, nonce: randomBytes(16).toString("hex"), runDirectory, vcpus, memoryBytes, limits, boot, detached, ...from };
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
