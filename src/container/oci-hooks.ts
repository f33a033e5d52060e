import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { isAlive, type ProcessIdentity } from "../base/process-identity.ts";
import type { ContainerConfig, OciHook, OciHookPhase } from "../config/container-config.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { Held, Holding, HoldingKind, Json } from "../contracts/holding.ts";
import type { RootfsGrant } from "../contracts/rootfs.ts";
import type { SandboxContext } from "../engine/context.ts";
import { ENGINE } from "../engine/holders.ts";
import type { Transaction } from "../engine/transaction.ts";
import { vmGrantOf } from "../sandbox/vm-grant.ts";
import { killGroup, type OciState, runOciHook } from "./run-oci-hook.ts";
import { hostSpec } from "./spec.ts";

/** The step in which `prestart` and then `createRuntime` hooks run: the guest has the container, it is not `ready` yet. */
export const RUN_HOOKS_STEP = "run-hooks";

const KIND = "oci-hooks";

export interface OciHooksIntent {
  readonly container: string;
  /** A private directory that hooks are told of: in it lies `config.json`, the container's specification in terms of the host. */
  readonly bundle: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly poststop: readonly OciHook[];
}

/** Present as soon as the first hook is about to run: from then on `poststop` is owed. */
export interface OciHooksGrant {
  /** The hook that runs now; `null` between hooks. */
  readonly process: ProcessIdentity | null;
}

/**
 * Notes the hooks of a container among its holdings before anything else is acquired for it, so that they are released last: `poststop` runs
 * when the container is gone, whether by delete, by a rollback or by `gc` after a crash. Nothing is stored here: the next step does it.
 */
export function expectHooks(sb: SandboxContext, config: ContainerConfig): void {
  if (!config.hooks) return;
  const intent: OciHooksIntent = {
    container: config.id,
    bundle: join(vmGrantOf(sb).runDirectory, `bundle-${config.id}`),
    annotations: config.annotations,
    poststop: config.hooks.poststop ?? [],
  };
  sb.journal.intend({ step: RUN_HOOKS_STEP, owner: ENGINE, kind: KIND, container: config.id, intent: intent as unknown as Json });
}

/** Runs the hooks of a create, `prestart` then `createRuntime`, each in order. @throws OCI_HOOK_FAILED by the first that fails, ABORTED. */
export async function runCreateHooks(sb: SandboxContext, tx: Transaction<typeof RUN_HOOKS_STEP>, config: ContainerConfig): Promise<void> {
  const { prestart = [], createRuntime = [] } = config.hooks ?? {};
  const longest = [...prestart, ...createRuntime].reduce<number>((sum, hook) => sum + timeoutOf(hook), DEADLINES.release);
  let running: Promise<void> | undefined;
  try {
    await tx.run(RUN_HOOKS_STEP, longest, (signal) => {
      running = config.hooks ? run(signal) : Promise.resolve();
      return running;
    });
  } finally {
    await running?.catch(() => {}); // a rollback must not overtake a hook that is being killed
  }

  async function run(signal: AbortSignal): Promise<void> {
    const { id, bundle } = await makeBundle(sb, config);
    for (const hook of prestart) await runTracked(sb, id, "prestart", hook, stateOf(sb, config, bundle, "creating"), signal);
    for (const hook of createRuntime) await runTracked(sb, id, "createRuntime", hook, stateOf(sb, config, bundle, "creating"), signal);
    sb.journal.update(sb.journal.get(id), { status: "held" });
  }
}

/** Runs the `poststart` hooks of a container that runs. One that fails is logged, and the others still run. */
export async function runPoststartHooks(sb: SandboxContext, config: ContainerConfig, signal: AbortSignal | undefined): Promise<void> {
  const holding = sb.journal.record.holdings.find(({ kind, container }) => kind === KIND && container === config.id);
  if (!holding) return;
  const { bundle } = holding.intent as unknown as OciHooksIntent;
  for (const hook of config.hooks?.poststart ?? []) {
    const state = stateOf(sb, config, bundle, "running");
    await runTracked(sb, holding.id, "poststart", hook, state, signal).catch((error) => warn(sb.log, "poststart", error));
  }
}

/**
 * Gives back what the hooks of a container have left: kills the one that a dead script was running, runs `poststop`, removes the bundle.
 * A hook that fails is logged, and the others still run; together they get most of one release's deadline.
 */
export function ociHooks(releaseTimeoutMs: number): Pick<HoldingKind<OciHooksIntent, OciHooksGrant>, "release"> {
  return {
    async release({ intent, grant }: Held<OciHooksIntent, OciHooksGrant>, { signal, log }) {
      if (!grant) return; // no hook has been run
      if (grant.process && (await isAlive(grant.process))) killGroup(grant.process.pid);
      const { container, bundle, annotations, poststop } = intent;
      const share = (releaseTimeoutMs * POSTSTOP_SHARE) / poststop.length;
      for (const hook of poststop) {
        const state: OciState = { ociVersion: "1.1.0", id: container, status: "stopped", bundle, annotations };
        const timeoutMs = Math.min(timeoutOf(hook), share);
        await runOciHook({ phase: "poststop", hook, state, timeoutMs, signal }).catch((error) => warn(log, "poststop", error));
      }
      await rm(bundle, { recursive: true, force: true });
    },
  };
}

/** The rest of a release's deadline is for killing a hook that hangs: a release that passes its deadline would count as failed. */
const POSTSTOP_SHARE = 0.8;

/** Makes the bundle, and before it stores that hooks are about to run. */
async function makeBundle(sb: SandboxContext, config: ContainerConfig): Promise<{ readonly id: number; readonly bundle: string }> {
  const { id, intent } = holdingOf(sb, config.id, KIND);
  const { bundle } = intent as unknown as OciHooksIntent;
  await storeProcess(sb, id, null);
  const rootfs = holdingOf(sb, config.id, "rootfs").grant as unknown as RootfsGrant;
  await mkdir(bundle, { recursive: true, mode: 0o700 });
  const spec = hostSpec(config, rootfs, sb.journal.record.config.hostname);
  await writeFile(join(bundle, "config.json"), JSON.stringify(spec), { mode: 0o600 });
  return { id, bundle };
}

/** Runs a hook whose process is on record before it is given its state, so that `gc` can kill it when the script dies meanwhile. */
async function runTracked(
  sb: SandboxContext,
  holding: number,
  phase: OciHookPhase,
  hook: OciHook,
  state: OciState,
  signal: AbortSignal | undefined,
): Promise<void> {
  const onStart = (process: ProcessIdentity | undefined) => storeProcess(sb, holding, process ?? null);
  await runOciHook({ phase, hook, state, timeoutMs: timeoutOf(hook), signal, onStart });
}

async function storeProcess(sb: SandboxContext, holding: number, process: ProcessIdentity | null): Promise<void> {
  const grant: OciHooksGrant = { process };
  sb.journal.update(sb.journal.get(holding), { grant: grant as unknown as Json });
  await sb.journal.save();
}

function stateOf(sb: SandboxContext, config: ContainerConfig, bundle: string, status: OciState["status"]): OciState {
  const pid = vmGrantOf(sb).process?.pid;
  return { ociVersion: "1.1.0", id: config.id, status, ...(pid === undefined ? {} : { pid }), bundle, annotations: config.annotations };
}

function holdingOf(sb: SandboxContext, container: string, kind: string): Holding {
  const found = sb.journal.record.holdings.find((each) => each.kind === kind && each.container === container);
  if (found) return found;
  throw new Error(`container "${container}" holds no ${kind}`);
}

function timeoutOf({ timeout }: OciHook): number {
  return timeout === undefined ? DEADLINES.ociHook : timeout * 1000;
}

function warn(log: Logger, phase: OciHookPhase, error: unknown): void {
  log.warn({ phase, reason: messageOf(error) }, "an OCI hook failed; nothing changes");
}
