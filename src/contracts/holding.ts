import type { Logger } from "../base/log.ts";

/** Data that survives JSON: what a holding is recorded as. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** What every call into a backend gets. */
export interface Call {
  /** Fires at the operation's deadline or when the caller gives up. A release gets a fresh one. */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/**
 * One kind of thing that can be acquired for a sandbox and must be given back.
 *
 * The engine records the `intent` before `acquire` runs and the `grant` after it, so that a crash at any instant leaves enough to release.
 */
export interface HoldingKind<Intent, Grant> {
  /** What it holds ends with this process, or is nothing at all: its intent need not be on disk before it is acquired. */
  readonly inProcess?: true;
  /** Acquires what `intent` asks for; all or nothing: a failure leaves nothing behind that `release(intent)` would not find. */
  acquire(intent: Intent, call: Call): Promise<Grant>;
  /**
   * Gives back what was acquired. Without a `grant` the acquisition may have happened in full, in part or never: find out from the intent.
   * "Already gone" is success. Must work when the VM or the guest is dead.
   */
  release(held: Held<Intent, Grant>, call: Call): Promise<void>;
}

export interface Held<Intent, Grant> {
  readonly intent: Intent;
  readonly grant: Grant | undefined;
}

/** A record of something acquired, as the state store keeps it. */
export interface Holding {
  /** Unique in its sandbox, counting up. */
  readonly id: number;
  /** The named step of the operation that acquired it. */
  readonly step: string;
  /** `slot:name` of the provider that can release it, `hypervisor:qemu` say. */
  readonly owner: string;
  readonly kind: string;
  /** The container it was acquired for; absent for the sandbox's own. */
  readonly container?: string;
  readonly status: "pending" | "held" | "failed";
  readonly intent: Json;
  readonly grant?: Json;
  /** Why the last release failed. */
  readonly reason?: string;
}
