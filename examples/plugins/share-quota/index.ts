/** A policy in hooks alone: how many containers a sandbox may share directories with, and which of those they may write to. */
import { resolve, sep } from "node:path";
import { definePlugin, TapvisorError } from "tapvisor/plugin";

export interface ShareQuotaOptions {
  /** The most shares that one sandbox may have at once; each container with files of the host has one. */
  readonly max: number;
  /** Directories of the host that containers may write to; whatever else they mount is made read-only. None by default. */
  readonly writable?: readonly string[];
  /** What is counted: give one of your own to read it. */
  readonly usage?: ShareUsage;
}

export interface ShareUsage {
  /** The shares that this engine attached, by sandbox. */
  readonly shares: Map<string, number>;
  /** Releases that failed in a rollback: each has left something for `tapvisor gc`. */
  leaks: number;
}

/** Counts the shares of each sandbox, and vetoes the one that is too many. */
export const shareQuota = definePlugin<ShareQuotaOptions>("share-quota", (ctx, options) => {
  const { max, writable = [], usage = { shares: new Map(), leaks: 0 } } = options;
  if (!(Number.isInteger(max) && max >= 0)) {
    throw new TapvisorError("INVALID_INPUT", `Cannot use share-quota.max ${JSON.stringify(max)}: wanted a whole number`, {
      data: { path: "max", value: max, wanted: "a whole number" },
    });
  }
  const held = (sandbox: string) => usage.shares.get(sandbox) ?? 0;
  const add = (sandbox: string, change: number) => {
    const count = held(sandbox) + change;
    if (count > 0) usage.shares.set(sandbox, count);
    else usage.shares.delete(sandbox);
  };

  // Before anything is attached: throwing vetoes, a returned event takes the place of the one that was asked for.
  ctx.hooks.beforeHotplug.tapPromise(async (event) => {
    if (event.kind !== "share" || event.action !== "plug") return event;
    if (held(event.sandbox) >= max) throw new Error(`sandbox "${event.sandbox}" has ${held(event.sandbox)} shares, wanted ${max} at most`);
    const entries = event.request.entries.map((entry) => ({ ...entry, readonly: entry.readonly || !isBelow(entry.source, writable) }));
    return { ...event, request: { ...event.request, entries } };
  });

  // It is attached: the place is taken, and given back when the operation fails after all, or when the share goes.
  ctx.hooks.afterAttach.tapPromise(async ({ sandbox, device, defer }) => {
    if (device.kind !== "share") return;
    add(sandbox, 1);
    defer("quota", async () => add(sandbox, -1));
  });

  ctx.hooks.onRollback.tapPromise(async ({ step, outcome, failure }) => {
    if (outcome === "released") return;
    usage.leaks += 1;
    ctx.log.error({ step, reason: failure?.message }, "a rollback has left something");
  });
});

export default shareQuota;

function isBelow(path: string, directories: readonly string[]): boolean {
  return directories.some((directory) => `${resolve(path)}${sep}`.startsWith(`${resolve(directory)}${sep}`));
}
