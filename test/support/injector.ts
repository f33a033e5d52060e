import { setImmediate as turn } from "node:timers/promises";
import { definePlugin, onceAborted, type Plugin, type StateStore, TapvisorError } from "tapvisor/plugin";
import type { MemoryState } from "tapvisor/plugins/state-memory";
import { type FakeOperation, type FakeSubject, FakeWorld } from "tapvisor/testing";
import { createMemoryStore } from "../../plugins/state-memory/state-store.ts";
import { createHooks, type HookName } from "../../src/engine/hooks.ts";
import type { StepEvent } from "../../src/engine/probe.ts";

/**
 * What goes wrong at a point: it fails `before` its effect or `after` it; it hangs until its signal fires, since the caller gives up just then
 * (`hang`) or its release's deadline passes (`late`); or nothing goes wrong but the caller giving up in the middle of it (`abort`).
 */
export type FaultMode = "before" | "after" | "hang" | "late" | "abort";

/** A point is the nth event of a name since `begin`; of all events but the state store's when `at` is `*`. */
export interface Fault {
  readonly at: string;
  readonly nth: number;
  readonly mode: FaultMode;
  /** From there on every time; once by default. */
  readonly persists?: boolean;
}

/** Streams and waits of processes run beside the operations: their order is not that of the operation's steps. */
const BACKGROUND: ReadonlySet<FakeOperation> = new Set([
  "agent.waitProcess",
  "agent.statsContainer", // of a process that was killed, for the reason
  "agent.readStdout",
  "agent.readStderr",
  "agent.writeStdin",
  "agent.closeStdin",
]);

/**
 * Sees everything an engine on the fakes does, in order, and makes any of it fail: `before:<step>`, `after:<step>` and `release:<step>` from the
 * probe, `op:<operation>` of the fake world, `store:<method>` of the state store, `hook:<hook>`, and `defer:<step>`, a release that a tap has
 * registered.
 */
export class Injector {
  /** The caller of the operation under test. */
  caller = new AbortController();
  /** Longer than any test, and this injector's own: it passes when a fault says so, however slow the machine is. */
  readonly releaseTimeoutMs = nextReleaseTimeoutMs++;
  #trace: string[] | undefined;
  #faults: readonly Fault[] = [];
  #struck: number[] = [];

  /** From here on events are recorded and the faults strike. */
  begin(faults: readonly Fault[] = []): void {
    this.caller = new AbortController();
    this.#trace = [];
    this.#faults = faults;
    this.#struck = faults.map(() => 0);
  }

  /** Ends it; the events that happened, and how often each fault struck. */
  end(): { readonly trace: readonly string[]; readonly struck: readonly number[] } {
    const trace = this.#trace ?? [];
    this.#trace = undefined;
    return { trace, struck: this.#struck };
  }

  async around<T>(name: string, signal: AbortSignal | undefined, work: () => T | Promise<T>): Promise<T> {
    const trace = this.#trace;
    if (!trace) return work();
    trace.push(name);
    const nth = trace.filter((each) => each === name).length;
    const any = name.startsWith("store:") ? 0 : trace.filter((each) => !each.startsWith("store:")).length;
    const index = this.#faults.findIndex((fault) => {
      const count = fault.at === "*" ? any : fault.at === name ? nth : 0;
      return fault.persists ? count >= fault.nth : count === fault.nth;
    });
    const found = this.#faults[index];
    if (!found) return work();
    const fault = { ...found, at: name };
    this.#struck[index] = (this.#struck[index] ?? 0) + 1;
    if (fault.mode === "abort" || fault.mode === "hang") this.caller.abort(injected(fault));
    if (fault.mode === "before") throw injected(fault);
    // A release knows nothing of the caller.
    if (fault.mode === "late" || (fault.mode === "hang" && !signal?.aborted)) passDeadline(this.releaseTimeoutMs);
    if (fault.mode === "hang" || fault.mode === "late") {
      await (signal ? onceAborted(signal) : new Promise<never>(() => {}));
      throw signal?.reason;
    }
    const result = await work();
    if (fault.mode === "after") throw injected(fault);
    return result;
  }

  readonly probe = (event: StepEvent): Promise<void> => this.around(`${event.phase}:${event.step}`, undefined, () => {});

  world(): FakeWorld {
    return new InjectedWorld(this);
  }

  /** Takes the places of the state store and of a plugin that taps every hook and defers a release of its own. */
  plugins(state: MemoryState): Plugin[] {
    const store = definePlugin("state-memory", (ctx) => {
      ctx.provide("stateStore", "memory", () => injectedStore(this, createMemoryStore(state)));
    });
    const tapAll = definePlugin("injector", (ctx) => {
      for (const hook of Object.keys(createHooks()) as HookName[]) {
        if (hook === "afterAttach") continue;
        const view = ctx.hooks[hook] as { tapPromise(tap: () => Promise<undefined>): void };
        view.tapPromise(async () => this.around(`hook:${hook}`, undefined, () => undefined));
      }
      ctx.hooks.afterAttach.tapPromise(async ({ defer }) => {
        defer("injector", () => this.around("defer:attach-share", undefined, () => {}));
        await this.around("hook:afterAttach", undefined, () => {});
      });
    });
    return [store(), tapAll()];
  }
}

export function injected({ at, nth, mode }: Fault): Error {
  const text = `injected ${mode} ${at} ${nth}`;
  if (at.startsWith("store:")) return new TapvisorError("STATE_IO", text, { data: { file: "box", operation: at, errno: "ENOSPC" } });
  if (at.startsWith("op:agent.")) return new TapvisorError("AGENT_FAILED", text, { data: { method: at, status: "INTERNAL" } });
  if (at.startsWith("op:")) return new TapvisorError("VM_COMMAND_FAILED", text, { data: { command: at, class: "GenericError" } });
  return new Error(text);
}

let nextReleaseTimeoutMs = 1_000_000;
const deadlines = new Map<number, () => void>();
const systemSetTimeout = globalThis.setTimeout;

/** Timers of the injectors' own deadlines can be made to fire at once. */
globalThis.setTimeout = Object.assign(
  (callback: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) => {
    if (ms !== undefined && ms >= 1_000_000 && ms < nextReleaseTimeoutMs) deadlines.set(ms, () => callback(...args));
    return systemSetTimeout(callback, ms, ...args);
  },
  { __promisify__: systemSetTimeout.__promisify__ },
) as typeof setTimeout;

/** Lets the newest deadline of this length pass: that of the release under way, since there is one at a time. */
function passDeadline(ms: number): void {
  deadlines.get(ms)?.();
}

class InjectedWorld extends FakeWorld {
  readonly #injector: Injector;

  constructor(injector: Injector) {
    super();
    this.#injector = injector;
  }

  override perform<T>(operation: FakeOperation, subject: FakeSubject, signal: AbortSignal, work: () => T | Promise<T>): Promise<T> {
    const perform = () => super.perform(operation, subject, signal, work);
    return BACKGROUND.has(operation) ? perform() : this.#injector.around(`op:${operation}`, signal, perform);
  }
}

/** A store that answers in later turns of the event loop, as one on a disk does. */
function injectedStore(injector: Injector, store: StateStore): StateStore {
  const late =
    <A extends unknown[], R>(name: string, method: (...args: A) => Promise<R>) =>
    (...args: A) =>
      injector.around(`store:${name}`, undefined, async () => {
        await turn();
        const result = await method(...args);
        await turn();
        return result;
      });
  return {
    ...store,
    create: late("create", store.create),
    write: late("write", store.write),
    remove: late("remove", store.remove),
    lock: late("lock", store.lock),
  };
}
