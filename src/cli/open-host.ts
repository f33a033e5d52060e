import { resolve } from "node:path";
import { loadPlugins } from "../config/load-plugins.ts";
import { createEngine } from "../engine/create-engine.ts";
import type { HostView, HostViewOptions } from "./host-view.ts";

/** The plugin that `--kernel` is an option of. */
const GUEST_BUILDER = "tapvisor/plugins/guest-linux";

/** Loads the plugins as a script's engine would, without needing anything they look for. */
export async function openHost({ config, preset, kernel, modules }: HostViewOptions): Promise<HostView> {
  const given = { ...(kernel && { kernel: resolve(kernel) }), ...(modules && { modules: resolve(modules) }) };
  const plugins = kernel || modules ? await loadPlugins([[GUEST_BUILDER, given]], process.cwd()) : [];
  const engine = await createEngine({ ...(config && { config }), ...(preset && { preset }), plugins });
  return {
    findings: () => engine.inspectHost(),
    prepareGuest: (onProgress) => engine.prepareGuest(onProgress),
    close: () => engine.close(),
  };
}
