import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { pino } from "pino";
import { throwIfAborted } from "../base/deadline.ts";
import { TapvisorError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { DEADLINES } from "../config/defaults.ts";
import { type EngineConfig, loadConfig } from "../config/engine-config.ts";
import { loadPlugins, loadPreset } from "../config/load-plugins.ts";
import { type TemplatesOptions, templatesConfig, templatesOfEnvironment } from "../config/templates-config.ts";
import { SLOT_NAMES, type SlotName, type Slots } from "../contracts/slots.ts";
import type { EngineContext } from "./context.ts";
import type { Plugin, Preset } from "./define-plugin.ts";
import { Engine } from "./engine.ts";
import { LateWork } from "./late-work.ts";
import { planMode } from "./plan-mode.ts";
import { PluginHost } from "./plugin-host.ts";
import type { StepProbe } from "./probe.ts";
import type { SlotRegistry } from "./slot-registry.ts";

export interface EngineOptions {
  /** A configuration file's path, or its content; `tapvisor.config.json5` of the working directory when it exists. */
  readonly config?: string | EngineConfig;
  /** The combination of plugins to start from: a bundled one's name (`"qemu"` by default, `"fake"`), or one made with definePreset. */
  readonly preset?: string | Preset;
  /** Further plugins, loaded after those of the preset and the configuration; one of a preset plugin's name takes its place. */
  readonly plugins?: readonly Plugin[];
  /** Where records, sockets and logs are kept: `$TAPVISOR_ROOT`, else `/var/lib/tapvisor` for root and `~/.local/state/tapvisor` for others. */
  readonly root?: string;
  /** A pino logger; by default silent unless `LOG_LEVEL` names a level, and then to stderr. */
  readonly logger?: Logger;
  /**
   * Whether sandboxes go on from templates, VMs that have booted and were saved, in place of booting; what `$TAPVISOR_TEMPLATES` says by default (`off`, or a
   * directory for them), else `true`. `false` switches it off for all of them. A template's pages are shared by the sandboxes of one user and root, and time
   * tells which: give sandboxes that distrust each other different names in `template`, or engines of different roots.
   */
  readonly templates?: boolean | TemplatesOptions;
  readonly signal?: AbortSignal;
  /** Told of each step of each operation; for fault injection and tracing. */
  readonly probe?: StepProbe;
  /** The deadline of each release, ms; 10 000 by default. One that passes it counts as failed, and is tried again by `delete` and `gc`. */
  readonly releaseTimeoutMs?: number;
}

/**
 * Makes an engine: loads configuration and plugins, then seals the hooks. Nothing on the host is touched yet.
 * @throws INVALID_CONFIG, INVALID_INPUT, PLUGIN_FAILED, NOT_FOUND, ABORTED.
 *
 * @example
 * await using engine = await createEngine();
 * await using sandbox = await engine.runSandbox();
 */
export async function createEngine(options: EngineOptions = {}): Promise<Engine> {
  checkOptions(options);
  const mode = planMode();
  const { config, directory } = await loadConfig(options.config);
  const wanted = mode?.preset ?? options.preset ?? config.preset ?? "qemu";
  const preset = typeof wanted === "string" ? await loadPreset(wanted) : wanted;
  const fromConfig = mode ? [] : await loadPlugins(config.plugins ?? [], directory);
  throwIfAborted(options.signal, "the engine's start");

  const log = options.logger ?? defaultLogger();
  const root = resolve(
    mode?.root ?? options.root ?? config.root ?? process.env.TAPVISOR_ROOT ?? defaultRoot("/var/lib/tapvisor", ".local/state/tapvisor"),
  );
  const cacheDirectory = resolve(process.env.TAPVISOR_CACHE ?? defaultRoot("/var/cache/tapvisor", ".cache/tapvisor"));
  const host = new PluginHost({ log, root, cacheDirectory });
  const own = mode ? [] : [...fromConfig, ...(options.plugins ?? [])];
  await host.load([...withoutNames(preset.plugins, own), ...own]);
  const providers = chooseProviders(host.slots, { ...preset.slots, ...(mode ? {} : config.slots) });
  host.choose(providers);

  const slot = <S extends SlotName>(name: S): Promise<Slots[S]> => host.slots.get(name, providers[name]);
  const context: EngineContext = {
    host,
    hooks: host.hooks,
    store: await slot("stateStore"),
    providers,
    slot,
    root,
    log,
    late: new LateWork(),
    probe: options.probe,
    releaseTimeoutMs: options.releaseTimeoutMs ?? DEADLINES.release,
    templates: templatesConfig(mode ? false : (options.templates ?? config.templates ?? templatesOfEnvironment()), root),
    building: new Set(),
    onPlan: mode && ((plan) => mode.report(plan)),
  };
  return new Engine(context);
}

/** So that a script or a configuration can give a preset's plugin other options. */
function withoutNames(plugins: readonly Plugin[], taken: readonly Plugin[]): Plugin[] {
  const names = new Set(taken.map((plugin) => plugin?.name));
  return plugins.filter(({ name }) => !names.has(name));
}

/** A slot's provider is the one named, or the only one there is. */
function chooseProviders(slots: SlotRegistry, named: Partial<Record<SlotName, string | undefined>>): Record<SlotName, string> {
  const choose = (slot: SlotName): string => {
    const known = slots.namesOf(slot);
    const name = named[slot] ?? (known.length === 1 ? known[0] : undefined);
    if (name !== undefined && known.includes(name)) return name;
    if (slot === "transport" && name === undefined && known.length === 0) return ""; // an agent may need none
    const why = name === undefined ? "none is chosen" : `no plugin provides "${name}"`;
    throw new TapvisorError("NOT_FOUND", `Cannot fill the slot ${slot}: ${why}, there is ${known.join(", ") || "none"}`, {
      data: { kind: slot, id: name ?? "", known },
      hint: `choose one by slots.${slot} in the configuration, or add the plugin that provides it`,
    });
  };
  return Object.fromEntries(SLOT_NAMES.map((slot) => [slot, choose(slot)])) as Record<SlotName, string>;
}

const OPTION_NAMES = ["config", "preset", "plugins", "root", "logger", "signal", "probe", "releaseTimeoutMs", "templates"];

function checkOptions(options: EngineOptions): void {
  const unknown = Object.keys(options).find((name) => !OPTION_NAMES.includes(name));
  const refuse = (path: string, value: unknown, wanted: string) =>
    new TapvisorError("INVALID_INPUT", `Cannot use engine.${path} ${JSON.stringify(value)}: wanted ${wanted}`, {
      data: { path, value, wanted },
    });
  if (unknown !== undefined) throw refuse(unknown, Reflect.get(options, unknown), `one of ${OPTION_NAMES.join(", ")}`);
  if (options.root !== undefined && (typeof options.root !== "string" || options.root === ""))
    throw refuse("root", options.root, "a directory");
  const { releaseTimeoutMs } = options;
  if (releaseTimeoutMs !== undefined && !(Number.isInteger(releaseTimeoutMs) && releaseTimeoutMs > 0)) {
    throw refuse("releaseTimeoutMs", releaseTimeoutMs, "milliseconds above 0");
  }
  if (options.plugins !== undefined && !Array.isArray(options.plugins)) throw refuse("plugins", options.plugins, "a list of plugins");
}

function defaultRoot(forRoot: string, forOthers: string): string {
  return process.getuid?.() === 0 ? forRoot : join(homedir(), forOthers);
}

function defaultLogger(): Logger {
  return pino({ level: process.env.LOG_LEVEL ?? "silent" }, pino.destination({ dest: 2, sync: true }));
}
