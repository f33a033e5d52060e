import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { tempDirectory } from "../../support/temp.ts";
import { isModule, REPOSITORY, relocated, type Snippet } from "./find-snippets.ts";
import * as prelude from "./prelude.ts";

/** What `tsc` says of snippets, all in one program and against the package's public names; each complaint with its place in the document. */
export async function checkTypes(snippets: readonly Snippet[]): Promise<string[]> {
  await using directory = await tempDirectory();
  const files = snippets.map((_, index) => `${index}.ts`);
  // Only checked, so that imports by an absolute path need not be rewritten.
  const compilerOptions = { typeRoots: [join(REPOSITORY, "node_modules/@types")], rewriteRelativeImportExtensions: false };
  const config = { extends: join(REPOSITORY, "tsconfig.json"), compilerOptions, files, include: [] };
  await writeFile(join(directory.path, "tsconfig.json"), JSON.stringify(config));
  // In a package of their own, so that they are modules of the same kind as a user's.
  await writeFile(join(directory.path, "package.json"), JSON.stringify({ type: "module" }));
  await Promise.all(snippets.map((snippet, index) => writeFile(join(directory.path, `${index}.ts`), programOf(snippet))));
  const output = await compile(directory.path);
  return output.split("\n").flatMap((line) => complaintOf(line, snippets));
}

/** One line stands before the snippet's first. */
function programOf(snippet: Snippet): string {
  const text = relocated(snippet);
  if (isModule(snippet)) return `// ${snippet.file}\n${text}\n`;
  const names = `import { ${Object.keys(prelude).join(", ")} } from "${join(import.meta.dirname, "prelude.ts")}";`;
  if (/^export\b/m.test(text)) return `${names}\n${text}\n`;
  // In a function its own names hide those of the prelude.
  return `${names} export async function fragment() {\n${text}\n}\n`;
}

function compile(directory: string): Promise<string> {
  const tsc = join(REPOSITORY, "node_modules/.bin/tsc");
  return new Promise((resolve) =>
    execFile(tsc, ["-p", directory, "--pretty", "false"], (_error, stdout, stderr) => resolve(stdout + stderr)),
  );
}

/** A line of tsc's with the place in the document; one that is about something else, a source that others are working on say, as it is. */
function complaintOf(line: string, snippets: readonly Snippet[]): string[] {
  const [, index, row, message] = /^(?:.*\/)?(\d+)\.ts\((\d+),\d+\): (.+)$/.exec(line) ?? [];
  const snippet = snippets[Number(index)];
  if (snippet) return [`${snippet.file}:${snippet.line + Number(row) - 2}: ${message}`];
  return /: error TS|^error TS/.test(line) ? [line] : [];
}
