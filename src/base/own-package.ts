import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export interface Manifest {
  readonly version: string;
  readonly exports: Readonly<Record<string, string | { readonly default: string }>>;
}

/** The directory and package.json of the package that the file at `url` belongs to. */
export function readOwnPackage(url: string): { readonly root: string; readonly manifest: Manifest } {
  const root = packageRoot(dirname(fileURLToPath(url)));
  return { root, manifest: JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest };
}

function packageRoot(directory: string): string {
  if (existsSync(join(directory, "package.json"))) return directory;
  const parent = dirname(directory);
  if (parent === directory) throw new Error("Cannot find the package.json of tapvisor");
  return packageRoot(parent);
}
