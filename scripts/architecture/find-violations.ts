import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { findImports } from "./find-imports.ts";
import { brokenRule } from "./rules.ts";

export interface Violation {
  readonly file: string;
  readonly line: number;
  readonly specifier: string;
  readonly rule: string;
}

interface Manifest {
  readonly dependencies?: Record<string, string>;
  readonly peerDependencies?: Record<string, string>;
}

/** Every import below `root` that breaks a rule. */
export function findViolations(root: string): Violation[] {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest;
  const own = new Set(Object.keys(manifest.dependencies ?? {}));
  const withPeers = new Set([...own, ...Object.keys(manifest.peerDependencies ?? {})]);
  return ["src", "plugins", "examples"].flatMap((area) => {
    // Optional peers are a plugin's own affair: the engine works without them.
    const dependencies = area === "plugins" ? withPeers : own;
    return sources(join(root, area)).flatMap((path) => {
      const file = relative(root, path).replaceAll("\\", "/");
      return findImports(readFileSync(path, "utf8")).flatMap((imported) => {
        const rule = brokenRule(imported, { file, dependencies });
        return rule === undefined ? [] : [{ file, line: imported.line, specifier: imported.specifier, rule }];
      });
    });
  });
}

function sources(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => join(entry.parentPath, entry.name));
}
