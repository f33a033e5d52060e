import { once } from "node:events";
import { strikes, type Waiting, waiting } from "./faults/points.ts";

/** Where a fault strikes inside a provider: around one call's effect. */
export interface CallFault {
  /**
   * `prepare`, `connect`, `vm.acquire`, `disk.release`; what `connect` gives has its verbs as `connect.createContainer`, and its sizing as
   * `connect.sizing.resizeMemory`.
   */
  readonly call: string;
  /** Before the call has had any effect, or after it has had all of it. */
  readonly when: "before" | "after";
  /** The how manyth call, from 1 (the default) on. */
  readonly nth?: number;
}

/** A provider whose calls go wrong where one says. */
export interface Faulty<Provider extends object> {
  /** The provider, to be offered in place of the real one. */
  readonly provider: Provider;
  /** The call fails there, with `error` or one that says "injected". */
  failIn(fault: CallFault & { readonly error?: Error }): void;
  /** The call does not answer: it ends when its signal fires. A `deaf` one ends at `reset` only, whatever its signal says. */
  hangIn(fault: CallFault & { readonly deaf?: boolean }): void;
  /** The call goes on there when `until` has settled. */
  delayIn(fault: CallFault & { readonly until: Promise<unknown> }): void;
  /** Whether every fault that was set has struck. */
  reached(): boolean;
  /** The calls since the last reset, in the order they began. */
  readonly calls: readonly string[];
  /** Forgets faults and calls, and lets what hangs go on to fail. */
  reset(): void;
}

interface Fault extends Waiting<CallFault> {
  strike(args: readonly unknown[]): Promise<void>;
}

type Run = (name: string, args: readonly unknown[], work: () => unknown) => unknown;

/**
 * Wraps a slot's provider so that its calls can be made to fail before or after their effect, to hang, or to wait: what a step probe,
 * which stands outside the step, cannot do.
 *
 * @example
 * const faulty = withFaults(await makeMyHypervisor());
 * const plugin = definePlugin("faulty", (ctx) => ctx.provide("hypervisor", "faulty", () => faulty.provider));
 * faulty.failIn({ call: "vm.acquire", when: "after" }); // the VM runs, and its acquisition fails all the same
 */
export function withFaults<Provider extends object>(provider: Provider): Faulty<Provider> {
  const faults: Fault[] = [];
  const calls: string[] = [];
  let letGo = new AbortController();
  const add = (point: CallFault, strike: Fault["strike"]) => void faults.push({ ...waiting(point), strike });
  const strikeAll = async (call: string, when: CallFault["when"], args: readonly unknown[]) => {
    const due = faults.filter(({ point }) => point.call === call && point.when === when).filter(strikes);
    for (const { strike } of due) await strike(args);
  };
  const run = async (name: string, args: readonly unknown[], work: () => unknown) => {
    calls.push(name);
    await strikeAll(name, "before", args);
    const result = await work();
    await strikeAll(name, "after", args);
    return name === "connect" && isObject(result) ? wrap(result, "connect.", run) : result;
  };
  return {
    provider: wrap(provider, "", run),
    failIn({ error, ...point }) {
      add(point, async () => {
        throw error ?? injected(point);
      });
    },
    hangIn({ deaf, ...point }) {
      add(point, async (args) => {
        const own = deaf ? undefined : signalOf(args);
        await onceEither(letGo.signal, own);
        throw own?.aborted ? own.reason : injected(point);
      });
    },
    delayIn({ until, ...point }) {
      add(point, async () => void (await Promise.allSettled([until])));
    },
    reached: () => faults.every(({ struck }) => struck),
    get calls() {
      return calls;
    },
    reset() {
      letGo.abort();
      letGo = new AbortController();
      faults.length = 0;
      calls.length = 0;
    },
  };
}

/** Passes everything on to `target`, its functions through `run`; the kinds of `holdings` are wrapped by their names, and `sizing` is. */
function wrap<T extends object>(target: T, prefix: string, run: Run): T {
  const wrapped: T = Object.create(Object.getPrototypeOf(target)); // apart from the target: a proxy of what is frozen must not give anything else
  return new Proxy(Object.assign(wrapped, { ...target }), {
    get(_, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof key !== "string") return value;
      if (typeof value === "function")
        return (...args: unknown[]) => run(`${prefix}${key}`, args, () => Reflect.apply(value, target, args));
      if (key === "sizing" && isObject(value)) return wrap(value, `${prefix}sizing.`, run);
      if (key !== "holdings" || !isObject(value)) return value;
      const kinds = Object.entries(value).map(([kind, holder]) => [kind, isObject(holder) ? wrap(holder, `${kind}.`, run) : holder]);
      return Object.fromEntries(kinds);
    },
  });
}

/** The signal of a call: every backend's verb takes a `Call`. */
function signalOf(args: readonly unknown[]): AbortSignal | undefined {
  for (const arg of args) if (isObject(arg) && "signal" in arg && arg.signal instanceof AbortSignal) return arg.signal;
  return undefined;
}

async function onceEither(first: AbortSignal, second: AbortSignal | undefined): Promise<void> {
  const signal = second ? AbortSignal.any([first, second]) : first;
  if (!signal.aborted) await once(signal, "abort");
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function injected({ call, when }: CallFault): Error {
  return new Error(`a fault was injected ${when} the effect of ${call}`);
}
