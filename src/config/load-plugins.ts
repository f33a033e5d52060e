import { createRequire } from "node:module";
import { isAbsolute, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { messageOf, TapvisorError } from "../base/errors.ts";
import type { Plugin, Preset } from "../engine/define-plugin.ts";
import type { EngineConfig } from "./engine-config.ts";

/** A bundled combination of plugins by its name. This is the one place where the engine loads plugins that it does not know. */
export async function loadPreset(name: string): Promise<Preset> {
  const module = await load(name, () => import(`tapvisor/plugins/preset-${name}`));
  return (module as { default: Preset }).default;
}

/** The plugins that a configuration names. @throws PLUGIN_FAILED naming the plugin. */
export async function loadPlugins(entries: NonNullable<EngineConfig["plugins"]>, directory: string): Promise<Plugin[]> {
  return Promise.all(
    entries.map(async (entry) => {
      const [specifier, options] = typeof entry === "string" ? [entry, undefined] : entry;
      const module = await load(specifier, () => import(urlOf(specifier, directory)));
      return pluginOf(specifier, module)(options);
    }),
  );
}

function urlOf(specifier: string, directory: string): string {
  if (specifier.startsWith("tapvisor/")) return specifier; // bundled: this package's own, wherever the configuration lies
  if (specifier.startsWith(".") || isAbsolute(specifier)) return pathToFileURL(resolve(directory, specifier)).href;
  return pathToFileURL(createRequire(resolve(directory, "package.json")).resolve(specifier)).href;
}

async function load(name: string, importIt: () => Promise<unknown>): Promise<object> {
  try {
    return (await importIt()) as object;
  } catch (error) {
    throw new TapvisorError("PLUGIN_FAILED", `Cannot load "${name}": ${messageOf(error)}`, {
      data: { plugin: name },
      cause: error,
      ...(/Unknown file extension/.test(messageOf(error))
        ? { hint: "run the script by `tapvisor run` or tsx, which understand TypeScript" }
        : {}),
    });
  }
}

/** A module's plugin: its default export, or else the only function it exports. */
function pluginOf(specifier: string, module: object): (options?: object) => Plugin {
  const exported = Object.entries(module);
  const chosen = exported.find(([name]) => name === "default")?.[1] ?? onlyFunction(exported.map(([, value]) => value));
  if (typeof chosen === "function") return chosen as (options?: object) => Plugin;
  throw new TapvisorError("PLUGIN_FAILED", `Cannot load "${specifier}": it exports no plugin by default, and not just one function`, {
    data: { plugin: specifier },
    hint: "export default definePlugin(…)",
  });
}

function onlyFunction(values: readonly unknown[]): unknown {
  const functions = values.filter((value) => typeof value === "function");
  return functions.length === 1 ? functions[0] : undefined;
}
