export interface Import {
  readonly specifier: string;
  /** Counted from 1. */
  readonly line: number;
  /** Whether it is known only when it runs: `import(name)`. */
  readonly computed: boolean;
}

// Formatted sources begin a static import or export at the start of a line; one may span several lines but holds no semicolon or quote.
const STATIC = /^(?:import|export)\b[^;"'`]*?(?:from\s*)?["']([^"']+)["']/gm;
const DYNAMIC = /(?:\bimport|\brequire(?:\.resolve)?|\bimport\.meta\.resolve)\(\s*(?:["']([^"']+)["']|([^)\s"']))/g;

/** Everything a source file imports, types and dynamic imports too. */
export function findImports(source: string): Import[] {
  const code = withoutComments(source);
  const found: Import[] = [];
  const lineAt = (index: number) => code.slice(0, index).split("\n").length;
  for (const match of code.matchAll(STATIC)) {
    if (match[1] !== undefined && isImport(match[0])) found.push({ specifier: match[1], line: lineAt(match.index), computed: false });
  }
  for (const match of code.matchAll(DYNAMIC)) {
    found.push({ specifier: match[1] ?? "(computed)", line: lineAt(match.index), computed: match[1] === undefined });
  }
  return found;
}

/** `export const name = "text"` has a quote too, and is no import. */
function isImport(statement: string): boolean {
  return /^import\b/.test(statement) || /\bfrom\s*["']/.test(statement);
}

// Only whole-line comments: one behind code cannot hold what the patterns look for at a line's start. Lines stay in place for their numbers.
function withoutComments(source: string): string {
  return source.replace(/^\s*(?:\/\/|\/?\*).*$/gm, "");
}
