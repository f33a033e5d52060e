import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** The working directory changes while a snippet runs. */
export const REPOSITORY = join(import.meta.dirname, "../../..");

/** A piece of code that a reader may copy. */
export interface Snippet {
  /** Path from the repository's root. */
  readonly file: string;
  /** Of its first line of code; counted from 1. */
  readonly line: number;
  /** `ts`, `json5`, `sh`; empty when the block names none. */
  readonly language: string;
  readonly text: string;
  /** Why it is type-checked only: what `<!-- does not run on the fakes: … -->` says on the line before it. */
  readonly notRun?: string;
}

const FENCE = /^```(\w*)\s*$/;
const NOT_RUN = /^<!-- does not run on the fakes: (.+) -->$/;

/** The code blocks of a Markdown text. */
export function snippetsOf(file: string, markdown: string): Snippet[] {
  const found: Snippet[] = [];
  const lines = markdown.split("\n");
  for (let index = 0; index < lines.length; index++) {
    const language = FENCE.exec(lines[index] ?? "")?.[1];
    if (language === undefined) continue;
    const end = lines.findIndex((line, at) => at > index && FENCE.test(line));
    if (end < 0) throw new Error(`${file}:${index + 1}: the code block has no end`);
    const notRun = NOT_RUN.exec(lines[index - 1] ?? "")?.[1];
    found.push({
      file,
      line: index + 2,
      language,
      text: lines.slice(index + 1, end).join("\n"),
      ...(notRun === undefined ? {} : { notRun }),
    });
    index = end;
  }
  return found;
}

/** The `@example`s of a source file's docstrings: each ends at the next tag, or with its comment. */
export function examplesOf(file: string, source: string): Snippet[] {
  const found: Snippet[] = [];
  const lines = source.split("\n");
  for (const [index, line] of lines.entries()) {
    if (!/^\s*\* @example\s*$/.test(line)) continue;
    const end = lines.findIndex((each, at) => at > index && /^\s*\*(\/| @)/.test(each));
    const text = lines.slice(index + 1, end).map((each) => each.replace(/^\s*\* ?/, ""));
    found.push({ file, line: index + 2, language: "ts", text: text.join("\n") });
  }
  return found;
}

const DOCUMENTS = ["README.md", "docs/plugins.md", "bench/README.md"];

/** Every code block of the documents that a user reads. */
export function documentSnippets(): Snippet[] {
  const readmes = ["plugins", "examples/plugins"].flatMap((folder) => below(folder).filter((file) => file.endsWith("/README.md")));
  return [...DOCUMENTS, ...readmes].flatMap((file) => snippetsOf(file, readFileSync(file, "utf8")));
}

/** Every `@example` of the engine and the kit. */
export function sourceExamples(): Snippet[] {
  const sources = below("src").filter((file) => file.endsWith(".ts"));
  return sources.flatMap((file) => examplesOf(file, readFileSync(file, "utf8")));
}

function below(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((file) => join(folder, file))
    .sort();
}

/** Whether it is a module as it stands; anything else is a fragment that takes the names of `prelude.ts` for granted. */
export function isModule({ text }: Snippet): boolean {
  return /^import\b/m.test(text);
}

/** Its text with relative imports as absolute ones: they are meant from its document's folder. */
export function relocated({ file, text }: Snippet): string {
  const folder = join(REPOSITORY, dirname(file));
  return text.replace(/(from\s+)"(\.{1,2}\/[^"]+)"/g, (_, from: string, path: string) => `${from}"${join(folder, path)}"`);
}
