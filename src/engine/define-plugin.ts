import type { Logger } from "../base/log.ts";
import type { Call } from "../contracts/holding.ts";
import type { SlotName, Slots } from "../contracts/slots.ts";
import type { HookEvent, HookName } from "./hooks.ts";

/** The plugin interface's version; a plugin made for another major version is refused. */
export const API_VERSION = 1;

/** Where a tap stands among the taps of its hook. */
export interface TapOrder {
  /** Lower runs earlier; 0 by default. */
  readonly stage?: number;
  /** Names of plugins whose taps this one runs before. */
  readonly before?: string | readonly string[];
  /** How long the tap may take, ms; 10 s by default. */
  readonly timeoutMs?: number;
}

/** The one way to tap: awaited, bound to the plugin's name. */
export interface Tappable<Event> {
  tapPromise(tap: (event: Event) => Promise<unknown>): void;
  tapPromise(order: TapOrder, tap: (event: Event) => Promise<unknown>): void;
}

export type PluginHooks = { readonly [K in HookName]: Tappable<HookEvent<K>> };

/** What a plugin gets while it loads. */
export interface PluginContext {
  readonly name: string;
  readonly log: Logger;
  readonly hooks: PluginHooks;
  /** Offers a provider for a slot under a name; `make` runs once, when an engine first uses it. */
  provide<S extends SlotName>(slot: S, name: string, make: () => Slots[S] | Promise<Slots[S]>): void;
  /**
   * Another plugin's provider, whichever is loaded first: to wrap it, or to build on it. Call it in `make` or later. It is the engine's own: whatever else
   * uses it shares it. Without a name it is the one that this engine's sandboxes use, which is chosen when all plugins have been loaded.
   * @throws NOT_FOUND listing what there is, PLUGIN_FAILED when it cannot be made, or waits for the one that asks.
   */
  use<S extends SlotName>(slot: S, name?: string): Promise<Slots[S]>;
  /** Where files that can be made again are kept, shared by engines. */
  readonly cacheDirectory: string;
  /**
   * Where records that must outlive the script are kept: absolute, private to the engine's user, the same for every engine on one root.
   * It need not exist yet; whoever writes there makes it, mode 0700.
   */
  readonly stateDirectory: string;
  /**
   * Runs at each `engine.gc()`, before the sandboxes, within 10 s: gives back what dead scripts have left that is no sandbox's, never a live one's. A failure
   * is logged.
   */
  onGc(collect: (call: Call) => Promise<void>): void;
  /** Runs when the engine closes, last loaded first. */
  onClose(close: () => Promise<void>): void;
}

export interface Plugin {
  readonly name: string;
  readonly apiVersion: number;
  readonly apply: (context: PluginContext) => void | Promise<void>;
}

type Factory<Options> = Record<string, never> extends Options ? (options?: Options) => Plugin : (options: Options) => Plugin;

/**
 * Makes a plugin: a function of its options that returns what `createEngine({ plugins })` takes.
 *
 * @example
 * export const quiet = definePlugin<{ max: number }>("quiet", (ctx, options) => {
 *   ctx.hooks.beforeHotplug.tapPromise(async (event) => {
 *     if (event.kind === "vcpu" && event.request.count > options.max) throw new Error(`more than ${options.max} vCPUs`);
 *     return event;
 *   });
 * });
 */
export function definePlugin<Options extends object = Record<string, never>>(
  name: string,
  apply: (context: PluginContext, options: Options) => void | Promise<void>,
): Factory<Options> {
  const factory = (options?: Options): Plugin => ({
    name,
    apiVersion: API_VERSION,
    apply: (context) => apply(context, (options ?? {}) as Options),
  });
  return factory as Factory<Options>;
}

/** A plain list of plugins and the providers a sandbox uses by default: `preset-qemu` say. */
export interface Preset {
  readonly name: string;
  readonly plugins: readonly Plugin[];
  readonly slots: Readonly<Partial<Record<SlotName, string>>>;
}

/** Gives a preset its type. */
export function definePreset(preset: Preset): Preset {
  return preset;
}
