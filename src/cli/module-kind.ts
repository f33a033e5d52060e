import { readFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { compileFunction } from "node:vm";

const MODULE_SYNTAX = /^(?:import|export)\b/m;
const COMMONJS_WORDS = /\brequire\(|\bmodule\.exports\b|\bexports\.|\b__(?:dirname|filename)\b/;
const TYPESCRIPT = new Set([".ts", ".tsx", ".jsx"]);

/**
 * Whether a file must be loaded as an ES module although nothing around it says so: a lone script outside any package, or in one
 * whose package.json has no `type`, would be taken for CommonJS, where `import` of this package and top-level await fail.
 */
export function isUndeclaredModule(file: string): boolean {
  const extension = extname(file);
  if (TYPESCRIPT.has(extension)) return nearestType(dirname(file)) !== "module" && !isCommonJsTypeScript(readFileSync(file, "utf8"));
  if (extension === ".js") return nearestType(dirname(file)) === undefined && !compilesAsCommonJs(readFileSync(file, "utf8"));
  return false; // .mts, .mjs, .cts and .cjs say it themselves
}

/** The `type` of the nearest package.json, as Node looks it up; an unreadable one ends the search as it does there. */
function nearestType(directory: string): string | undefined {
  if (directory.endsWith("/node_modules")) return undefined;
  try {
    return (JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as { type?: string }).type;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") return undefined;
  }
  const parent = dirname(directory);
  return parent === directory ? undefined : nearestType(parent);
}

// TypeScript with `import` means modules, whatever the package says; without, only the words of CommonJS make it that.
function isCommonJsTypeScript(source: string): boolean {
  return !MODULE_SYNTAX.test(source) && COMMONJS_WORDS.test(source);
}

// The same question Node asks of a .js file without a declared type.
function compilesAsCommonJs(source: string): boolean {
  try {
    compileFunction(source.replace(/^#!.*/, ""), ["exports", "require", "module", "__filename", "__dirname"]);
    return true;
  } catch {
    return false;
  }
}
