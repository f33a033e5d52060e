import { join } from "node:path";
import { withDeadline } from "../base/deadline.ts";
import { isTapvisorError, messageOf, TapvisorError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { DEADLINES } from "../config/defaults.ts";
import type { Call } from "../contracts/holding.ts";
import type { SlotName } from "../contracts/slots.ts";
import { API_VERSION, type Plugin, type PluginContext } from "./define-plugin.ts";
import { HookRunner } from "./hook-runner.ts";
import { SlotRegistry } from "./slot-registry.ts";

export interface HostOptions {
  readonly log: Logger;
  readonly root: string;
  readonly cacheDirectory: string;
}

/** The plugins of one engine: what they provide, what they tap, how they close. */
export class PluginHost {
  readonly slots = new SlotRegistry();
  readonly hooks: HookRunner;
  readonly #options: HostOptions;
  #chosen: Partial<Record<SlotName, string>> = {};
  readonly #loaded = new Set<string>();
  readonly #collectors: { readonly plugin: string; readonly collect: (call: Call) => Promise<void> }[] = [];
  readonly #closers: { readonly plugin: string; readonly close: () => Promise<void> }[] = [];

  constructor(options: HostOptions) {
    this.#options = options;
    this.hooks = new HookRunner(options.log);
  }

  /** Loads plugins in order, each within 10 s, then seals the hooks. @throws PLUGIN_FAILED naming the plugin. */
  async load(plugins: readonly Plugin[]): Promise<void> {
    for (const plugin of plugins) await this.#loadOne(plugin);
    this.hooks.seal();
  }

  /** Says which providers the sandboxes use. */
  choose(providers: Record<SlotName, string>): void {
    this.#chosen = providers;
  }

  /** Has the plugins give back what dead scripts have left of theirs; one that fails is logged and the others still do. */
  async collect(): Promise<void> {
    for (const { plugin, collect } of this.#collectors) {
      const log = this.#options.log.child({ plugin });
      const wait = { what: `plugin "${plugin}" to give back what was left`, timeoutMs: DEADLINES.plugin };
      await withDeadline(wait, async (signal) => collect({ signal, log })).catch((error) =>
        log.error({ reason: messageOf(error) }, "a plugin failed to give back what dead scripts have left"),
      );
    }
  }

  /** Closes the plugins, last loaded first; one that fails is logged and the others still close. */
  async close(): Promise<void> {
    for (const { plugin, close } of this.#closers.splice(0).reverse()) {
      await withDeadline({ what: `plugin "${plugin}" to close`, timeoutMs: DEADLINES.plugin }, close).catch((error) =>
        this.#options.log.error({ plugin, reason: messageOf(error) }, "a plugin failed to close"),
      );
    }
  }

  async #loadOne(plugin: Plugin): Promise<void> {
    const name = checkShape(plugin);
    if (this.#loaded.has(name)) throw failed(name, "it is listed twice");
    this.#loaded.add(name);
    try {
      await withDeadline({ what: `plugin "${name}" to load`, timeoutMs: DEADLINES.plugin }, async () =>
        plugin.apply(this.#contextOf(name)),
      );
    } catch (error) {
      if (isTapvisorError(error) && error.code !== "TIMEOUT") throw error;
      throw failed(name, messageOf(error), error);
    }
  }

  #contextOf(name: string): PluginContext {
    const { log, root, cacheDirectory } = this.#options;
    return {
      name,
      log: log.child({ plugin: name }),
      hooks: this.hooks.viewFor(name),
      provide: (slot, provider, make) => this.slots.provide(name, slot, provider, make),
      use: async (slot, provider = this.#chosen[slot]) => {
        if (provider !== undefined) return this.slots.use(name, slot, provider);
        throw failed(name, `it asked for the engine's ${slot} while plugins are loaded: none is chosen yet`);
      },
      cacheDirectory,
      stateDirectory: join(root, "state"),
      onGc: (collect) => void this.#collectors.push({ plugin: name, collect }),
      onClose: (close) => void this.#closers.push({ plugin: name, close }),
    };
  }
}

function checkShape(plugin: Plugin): string {
  const given = plugin as Partial<Plugin> | null | undefined;
  if (typeof given !== "object" || given === null || typeof given.name !== "string" || typeof given.apply !== "function") {
    throw new TapvisorError("PLUGIN_FAILED", "Cannot load a plugin: it is not what definePlugin makes", {
      data: { plugin: String(given && typeof given === "object" ? given.name : given) },
      hint: "list the call, quiet({ max: 2 }), not the function quiet",
    });
  }
  if (given.apiVersion !== API_VERSION) {
    throw failed(given.name, `it is made for plugin API ${String(given.apiVersion)}, this engine has ${API_VERSION}`);
  }
  return given.name;
}

function failed(plugin: string, reason: string, cause?: unknown): TapvisorError {
  return new TapvisorError("PLUGIN_FAILED", `Cannot load plugin "${plugin}": ${reason}`, { data: { plugin }, cause });
}
