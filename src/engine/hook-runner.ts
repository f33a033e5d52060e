import { withDeadline } from "../base/deadline.ts";
import { isTapvisorError, messageOf, TapvisorError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { PluginHooks, TapOrder } from "./define-plugin.ts";
import { createHooks, type EngineHooks, type HookEvent, type HookName, OBSERVING_HOOKS } from "./hooks.ts";

/** One tap, as `tapvisor hooks` lists it. */
export interface TapInfo {
  readonly hook: HookName;
  readonly plugin: string;
  readonly stage: number;
}

type Tap = (event: unknown) => Promise<unknown>;

/** The hooks of one engine: plugins tap them, each under its name and with a deadline; only the engine fires them. */
export class HookRunner {
  readonly #hooks: EngineHooks = createHooks();
  readonly #log: Logger;
  #sealed = false;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** The view a plugin gets: every hook, `tapPromise` only. tapable's own `tap` would run an async function without waiting for it. */
  viewFor(plugin: string): PluginHooks {
    const view: Record<string, unknown> = {};
    for (const hook of Object.keys(this.#hooks) as HookName[]) {
      view[hook] = { tapPromise: (first: TapOrder | Tap, second?: Tap) => this.#tap(plugin, hook, first, second) };
    }
    return new Proxy(Object.freeze(view) as unknown as PluginHooks, {
      get: (target, name) =>
        Reflect.get(target, name) ?? (typeof name === "string" && name !== "then" ? this.#unknown(plugin, name) : undefined),
    });
  }

  /** From here on a tap is refused: what an engine does must not change while it runs. */
  seal(): void {
    this.#sealed = true;
  }

  /** Every tap in the order it runs. */
  list(): TapInfo[] {
    return (Object.keys(this.#hooks) as HookName[]).flatMap((hook) =>
      this.#hooks[hook].taps.map((tap) => ({ hook, plugin: tap.name, stage: tap.stage ?? 0 })),
    );
  }

  /** Fires a `before…` hook: gives the event as amended by the taps. @throws HOOK_FAILED when one vetoes. */
  async amend<K extends HookName>(hook: K, event: HookEvent<K>): Promise<HookEvent<K>> {
    return (await this.#fire(hook, event)) as HookEvent<K>;
  }

  /** Fires an `after…` hook. @throws HOOK_FAILED when a tap throws or hangs. */
  async notify<K extends HookName>(hook: K, event: HookEvent<K>): Promise<void> {
    await this.#fire(hook, event);
  }

  /** Fires an observing hook: what taps throw has been logged, and changes nothing. */
  async observe<K extends HookName>(hook: K, event: HookEvent<K>): Promise<void> {
    await this.#fire(hook, event);
  }

  #fire(hook: HookName, event: unknown): Promise<unknown> {
    return (this.#hooks[hook] as unknown as { promise(event: unknown): Promise<unknown> }).promise(event);
  }

  #tap(plugin: string, hook: HookName, first: TapOrder | Tap, second: Tap | undefined): void {
    const order = typeof first === "function" ? {} : first;
    const tap = typeof first === "function" ? first : second;
    if (typeof tap !== "function") {
      throw new TapvisorError("INVALID_INPUT", `Cannot tap ${hook} for plugin "${plugin}": no function given`, {
        data: { path: `hooks.${hook}`, value: tap, wanted: "an async function of the event" },
      });
    }
    if (this.#sealed) {
      throw new TapvisorError("PLUGIN_FAILED", `Cannot tap ${hook} for plugin "${plugin}": the engine has started`, {
        data: { plugin, hook },
        hint: "tap hooks while the plugin loads, in the function given to definePlugin",
      });
    }
    const run = (event: unknown) => this.#guarded(plugin, hook, tap, event, order.timeoutMs ?? DEADLINES.plugin);
    const options = {
      name: plugin,
      stage: order.stage ?? 0,
      ...(order.before === undefined ? {} : { before: order.before as string | string[] }),
    };
    (this.#hooks[hook] as unknown as { tapPromise(options: object, tap: Tap): void }).tapPromise(options, run);
  }

  async #guarded(plugin: string, hook: HookName, tap: Tap, event: unknown, timeoutMs: number): Promise<unknown> {
    try {
      const result = await withDeadline({ what: `plugin "${plugin}" in ${hook}`, timeoutMs }, async () => tap(event));
      if (result === undefined || OBSERVING_HOOKS.has(hook)) return undefined;
      if (typeof result === "object" && result !== null) return result;
      throw new Error(`returned ${JSON.stringify(result)}: wanted the event or nothing`);
    } catch (error) {
      const timedOut = isTapvisorError(error) && error.code === "TIMEOUT";
      if (OBSERVING_HOOKS.has(hook)) {
        this.#log.error({ plugin, hook, reason: messageOf(error) }, "a tap failed; nothing changes");
        return undefined;
      }
      throw new TapvisorError("HOOK_FAILED", `Plugin "${plugin}" failed ${hook}: ${messageOf(error)}`, {
        data: { plugin, hook, timedOut },
        cause: error,
      });
    }
  }

  #unknown(plugin: string, name: string): never {
    throw new TapvisorError("PLUGIN_FAILED", `Cannot tap "${name}" for plugin "${plugin}": there is no such hook`, {
      data: { plugin, hook: name },
      hint: `hooks: ${Object.keys(this.#hooks).join(", ")}`,
    });
  }
}
