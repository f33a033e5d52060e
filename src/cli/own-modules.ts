import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { readOwnPackage } from "../base/own-package.ts";

/** Where this running copy of the package stands, and what each of its public names is there. */
export interface OwnPackage {
  readonly root: string;
  readonly version: string;
  /** Public name with at most one `*`, `tapvisor/plugins/*` say, to the URL of its module. */
  readonly modules: Readonly<Record<string, string>>;
}

export const PACKAGE_NAME = "tapvisor";

/** Finds the package that the file at `url` belongs to. From source, its public names are the `.ts` files they are compiled from. */
export function ownPackage(url: string): OwnPackage {
  const { root, manifest } = readOwnPackage(url);
  const fromSource = url.endsWith(".ts");
  const modules: Record<string, string> = {};
  for (const [name, target] of Object.entries(manifest.exports)) {
    if (typeof target === "string") continue;
    const file = fromSource ? target.default.replace("./dist/", "./").replace(/\.js$/, ".ts") : target.default;
    modules[name.replace(".", PACKAGE_NAME)] = pathToFileURL(join(root, file)).href;
  }
  return { root, version: manifest.version, modules };
}

/** The URL that a public name of this package means in this copy; an unknown one is an error that lists what there is. */
export function ownModule(specifier: string, modules: Readonly<Record<string, string>>): string {
  for (const [name, url] of Object.entries(modules)) {
    if (name === specifier) return url;
    const [before, after] = name.split("*");
    if (before === undefined || after === undefined || !specifier.startsWith(before) || !specifier.endsWith(after)) continue;
    const word = specifier.slice(before.length, specifier.length - after.length);
    if (/^[a-z][a-z0-9-]*$/.test(word)) return url.replace("*", word);
  }
  throw new Error(`Cannot import "${specifier}": wanted one of ${Object.keys(modules).join(", ")}`);
}
