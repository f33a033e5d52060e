import { dirname, join } from "node:path";
import type { Import } from "./find-imports.ts";

/** What the rules need to know besides the import itself. */
export interface Context {
  /** Path of the importing file from the project's root, with "/". */
  readonly file: string;
  readonly dependencies: ReadonlySet<string>;
}

/** Which rule an import breaks, in words; `undefined` when it breaks none. */
export function brokenRule(imported: Import, context: Context): string | undefined {
  const target = resolveTarget(imported.specifier, context.file);
  const [area = ""] = context.file.split("/");
  if (area === "src") return inSrc(imported, target, context);
  if (area === "plugins") return inPlugin(imported, target, context);
  if (area === "examples") return inExample(imported, target);
  return undefined;
}

type Target =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "self"; readonly name: string }
  | { readonly kind: "node" }
  | { readonly kind: "package"; readonly name: string };

function resolveTarget(specifier: string, file: string): Target {
  if (/^\.{0,2}\//.test(specifier)) return { kind: "file", path: join(dirname(file), specifier) };
  if (specifier === "tapvisor" || specifier.startsWith("tapvisor/")) return { kind: "self", name: specifier };
  if (specifier.startsWith("node:")) return { kind: "node" };
  const parts = specifier.split("/");
  return { kind: "package", name: specifier.startsWith("@") ? parts.slice(0, 2).join("/") : (parts[0] ?? "") };
}

/** The places where code that is known only at run time is loaded: plugins of a configuration, the user's script, a command of ours. */
const RUN_TIME_LOADERS = [/^src\/config\//, /^src\/engine\/load-[a-z-]+\.ts$/, /^src\/cli\/run\.ts$/];

function inSrc(imported: Import, target: Target, { file, dependencies }: Context): string | undefined {
  if (imported.computed) return RUN_TIME_LOADERS.some((place) => place.test(file)) ? undefined : "src/ loads code by a computed name here";
  if (target.kind === "self") return "src/ imports its own files by path: plugins and the public names are out of its reach";
  if (target.kind === "package") return dependencies.has(target.name) ? undefined : "not among the dependencies of package.json";
  if (target.kind === "node") return undefined;
  if (!target.path.startsWith("src/")) return "src/ imports nothing outside src/";
  if (file.startsWith("src/base/") && !target.path.startsWith("src/base/")) return "src/base imports only src/base";
  if (file.startsWith("src/contracts/") && !/^src\/(base|contracts)\//.test(target.path))
    return "src/contracts imports only src/base and contracts";
  return undefined;
}

function inPlugin(imported: Import, target: Target, { file, dependencies }: Context): string | undefined {
  const [, plugin = ""] = file.split("/");
  if (imported.computed) return "a plugin imports by name";
  if (target.kind === "node") return undefined;
  if (target.kind === "package") return dependencies.has(target.name) ? undefined : "not among the dependencies of package.json";
  if (target.kind === "file")
    return target.path.startsWith(`plugins/${plugin}/`) ? undefined : "a plugin imports only files of its own folder";
  if (target.name === "tapvisor/plugin" || target.name === "tapvisor/protocol") return undefined;
  if (target.name === "tapvisor/testing" && (plugin.endsWith("-fake") || plugin === "preset-plan")) return undefined;
  if (target.name.startsWith("tapvisor/plugins/") && plugin.startsWith("preset-")) return undefined;
  return "a plugin imports only tapvisor/plugin and tapvisor/protocol (a fake or a plan also tapvisor/testing, a preset also tapvisor/plugins/*)";
}

function inExample(imported: Import, target: Target): string | undefined {
  if (imported.computed || target.kind === "node" || target.kind === "self") return undefined;
  return "an example imports only tapvisor, tapvisor/… and node:";
}
