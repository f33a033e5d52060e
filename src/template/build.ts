import { rename } from "node:fs/promises";
import { newId } from "../base/ids.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { SandboxConfig } from "../config/sandbox-config.ts";
import type { BootAssets } from "../contracts/guest.ts";
import type { Call } from "../contracts/holding.ts";
import type { EngineContext, SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import { Journal } from "../engine/journal.ts";
import { type Transaction, transact } from "../engine/transaction.ts";
import { sandboxContext } from "../sandbox/context.ts";
import { launchAndConnect } from "../sandbox/launch.ts";
import { forget, newRecord } from "../sandbox/new-record.ts";
import { runDirectoryOf } from "../sandbox/paths.ts";
import { releaseSandbox } from "../sandbox/stop.ts";
import { filesIn, placeOf, workPlaceOf } from "./files.ts";
import type { TemplateKey } from "./key.ts";
import { seal } from "./manifest.ts";
import { identityOf } from "./renew.ts";
import type { TemplateWorkIntent } from "./work.ts";

/** The steps of building a template, in order. */
export const BUILD_TEMPLATE_STEPS = [
  "record",
  "make-run-directory",
  "make-template-files",
  "launch-vm",
  "connect-agent",
  "warm-up",
  "prepare-to-be-saved",
  "save",
  "seal",
] as const;
type BuildStep = (typeof BUILD_TEMPLATE_STEPS)[number];

/** What the template is built from. */
export interface TemplateSource {
  readonly config: SandboxConfig;
  readonly boot: BootAssets;
}

/**
 * Boots a VM, has it serve what a first container needs, and saves it. Until it is in its place it is a sandbox like any other: what a failure or a crash
 * leaves of it is given back in the same way. The caller holds the template's lock.
 */
export async function buildTemplate(engine: EngineContext, template: TemplateKey, source: TemplateSource, call: Call): Promise<void> {
  const id = newId("template");
  const config = { ...source.config, id, hostname: "template", detached: false, template: false, annotations: {} };
  engine.building.add(id);
  try {
    const sb = sandboxContext(engine, Journal.draft(engine.store, await newRecord(engine, config)));
    sb.log.info({ template: template.key, group: template.group }, "building a template: later sandboxes of this kind go on from it");
    try {
      const operation = { name: "build template", steps: BUILD_TEMPLATE_STEPS, sandbox: id, signal: call.signal };
      await transact(sb, operation, (tx) => build(sb, tx, template, { ...source, config }));
      await releaseSandbox(sb, true);
      await sb.journal.remove();
    } catch (error) {
      await forget(sb, error);
      throw error;
    }
  } finally {
    engine.building.delete(id);
  }
}

async function build(
  sb: SandboxContext,
  tx: Transaction<BuildStep>,
  template: TemplateKey,
  { config, boot }: TemplateSource,
): Promise<void> {
  const { directory } = sb.engine.templates;
  const work = filesIn(workPlaceOf(directory, sb.id));
  const runDirectory = runDirectoryOf(sb.engine.root, sb.id);
  await tx.run("record", DEADLINES.release, () => sb.journal.store());
  await tx.acquire("make-run-directory", { owner: ENGINE, kind: "run-directory" }, { path: runDirectory }, DEADLINES.agent);
  const intent: TemplateWorkIntent = { directory: work.directory, memoryBytes: config.memoryBytes };
  await tx.acquire("make-template-files", { owner: ENGINE, kind: "template-work" }, intent, DEADLINES.release);
  const vm = await launchAndConnect(sb, tx, { config, boot, runDirectory, from: { memory: { kind: "template", file: work.memory } } });
  await tx.run("warm-up", DEADLINES.template, (signal) => identityOf(sb).warmUp({ signal, log: sb.log }));
  // A new connection is what the first thing that happens in a clone is: its code is in memory now, too.
  await tx.undo("connect-agent");
  await tx.acquire("connect-agent", { owner: ENGINE, kind: "agent-connection" }, { vm }, DEADLINES.agent);
  await tx.run("prepare-to-be-saved", DEADLINES.agent, (signal) => identityOf(sb).prepareToBeSaved({ signal, log: sb.log }));
  await tx.undo("connect-agent");
  await tx.run("save", DEADLINES.agent, async (signal) => {
    const live = await sb.guest.connectVm(vm, { signal, log: sb.log });
    await live.save?.(work.state, { signal, log: sb.log });
  });
  sb.guest.beginEnd();
  await tx.undo("launch-vm"); // nothing may write to the memory any more
  await tx.run("seal", DEADLINES.agent, async () => {
    const { vcpus, memoryBytes } = config;
    await seal(work, { ...template, vcpus, memoryBytes });
    await rename(work.directory, placeOf(directory, template.key));
  });
}
