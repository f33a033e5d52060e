import { realpathSync, statSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { isUndeclaredModule } from "./module-kind.ts";
import { ownModule, PACKAGE_NAME } from "./own-modules.ts";

/** Module resolution hook of `tapvisor run`; Node loads this file in its hooks thread, or the engine's own where hooks are synchronous. */
export interface ResolverData {
  readonly modules: Readonly<Record<string, string>>;
}

interface Context {
  readonly parentURL?: string | undefined;
}

interface Resolved {
  readonly url: string;
  readonly format?: string | null | undefined;
  readonly shortCircuit?: boolean;
}

let modules: Readonly<Record<string, string>> = {};

export function initialize(data: ResolverData): void {
  modules = data.modules;
}

/** Maps this package's names to the running copy, and makes lone scripts ES modules; all else is the next hook's business. */
export function resolve<C extends Context, R>(specifier: string, context: C, next: (specifier: string, context: C) => R): R | Resolved {
  if (specifier === PACKAGE_NAME || specifier.startsWith(`${PACKAGE_NAME}/`)) return next(ownModule(specifier, modules), context);
  const target = fileTarget(specifier, context.parentURL);
  const file = target && !target.pathname.includes("/node_modules/") ? existingFile(target) : undefined;
  if (target === undefined || file === undefined || !isUndeclaredModule(file)) return next(specifier, context);
  return { url: `${pathToFileURL(realpathSync(file)).href}${target.search}`, format: "module", shortCircuit: true };
}

function fileTarget(specifier: string, parent: string | undefined): URL | undefined {
  if (specifier.startsWith("file:")) return new URL(specifier);
  return /^\.{0,2}\//.test(specifier) && parent?.startsWith("file:") ? new URL(specifier, parent) : undefined;
}

/** The file itself, or the TypeScript one that a name without extension or with `.js` stands for. */
function existingFile(url: URL): string | undefined {
  const path = fileURLToPath(url);
  const candidates = [path, path.replace(/\.js$/, ".ts"), `${path}.ts`];
  return candidates.find((candidate) => statSync(candidate, { throwIfNoEntry: false })?.isFile());
}
