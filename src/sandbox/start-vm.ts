import { isTapvisorError, messageOf } from "../base/errors.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { VmGrant, VmMemory } from "../contracts/hypervisor.ts";
import type { SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import type { Origin } from "../engine/record.ts";
import type { Transaction } from "../engine/transaction.ts";
import { filesIn, placeOf } from "../template/files.ts";
import { findTemplate } from "../template/find.ts";
import type { TemplateUseIntent } from "../template/use.ts";
import { requireTemplate, whyNone } from "../template/why-none.ts";
import type { BootStep } from "./boot.ts";
import { type Launch, launchAndConnect } from "./launch.ts";

interface Started {
  readonly vm: VmGrant;
  readonly origin: Origin;
}

/**
 * Starts the VM from a template where that is possible, and connects to its agent. What goes wrong with a template that the sandbox does not insist on is logged,
 * and the VM boots.
 */
export async function startVm(sb: SandboxContext, tx: Transaction<BootStep>, launch: Launch): Promise<Started> {
  const insists = launch.config.template !== undefined;
  const none = await whyNone(sb.engine, launch.config, launch.boot);
  if (none !== undefined) {
    requireTemplate(sb.id, launch.config, none);
    return boot(sb, tx, launch, none);
  }
  try {
    return await goOn(sb, tx, launch);
  } catch (error) {
    if (insists || tx.signal?.aborted || (isTapvisorError(error) && error.code === "ABORTED")) throw error;
    sb.log.warn({ reason: messageOf(error) }, "cannot go on from a template: boots");
    await tx.undo("hold-template", "launch-vm", "connect-agent");
    return boot(sb, tx, launch, messageOf(error));
  }
}

async function boot(sb: SandboxContext, tx: Transaction<BootStep>, launch: Launch, why: string): Promise<Started> {
  sb.log.debug({ why }, "boots, without a template");
  return { vm: await launchAndConnect(sb, tx, launch), origin: { from: "boot", why } };
}

async function goOn(sb: SandboxContext, tx: Transaction<BootStep>, launch: Launch): Promise<Started> {
  const { key } = await tx.run("find-template", DEADLINES.template, (signal) =>
    findTemplate(sb.engine, launch.config, launch.boot, { signal, log: sb.log }),
  );
  const directory = placeOf(sb.engine.templates.directory, key);
  const use: TemplateUseIntent = { key, directory, user: `${sb.id}.${sb.journal.record.nextHolding}` };
  await tx.acquire("hold-template", { owner: ENGINE, kind: "template-use" }, use, DEADLINES.release);
  const memory = await memoryOf(sb, launch, use);
  sb.log.debug({ template: key, memory: memory.kind }, "goes on from a template");
  const vm = await launchAndConnect(sb, tx, { ...launch, from: { memory } });
  return { vm, origin: { from: "template", template: key, memory: memory.kind === "clone" ? "shared" : "own" } };
}

/** Directories of the host can be shared only with a VM whose memory is its own. */
async function memoryOf(sb: SandboxContext, { config }: Launch, { directory, user }: TemplateUseIntent): Promise<VmMemory> {
  const { memory: file, state, users } = filesIn(directory);
  const { capabilities } = await sb.engine.slot("hypervisor");
  if (!config.shares || !capabilities.shareHotplug) return { kind: "clone", file, state };
  return { kind: "copy", file, state, copy: `${users}/${user}.memory` };
}
