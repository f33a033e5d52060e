export interface Position {
  /** Both count from 1. */
  readonly line: number;
  readonly column: number;
}

const SPACE = /(?:\s|\/\/[^\n]*|\/\*[\s\S]*?\*\/)*/y;
const STRING = /"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'/y;
const WORD = /[^\s,:{}[\]"'/]+/y;

/**
 * Where in a JSON5 text the value of a path stands, so that a complaint about a field can name its line. The text has been parsed before, so
 * only what is valid needs to be understood. A path that is not there gives the position of the innermost part that is.
 */
export function positionOf(text: string, path: readonly PropertyKey[]): Position {
  const offset = new Scanner(text).find(path.map(String));
  const before = text.slice(0, offset).split("\n");
  return { line: before.length, column: (before.at(-1) ?? "").length + 1 };
}

class Scanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  find(path: readonly string[]): number {
    this.#match(SPACE);
    const start = this.#at;
    const [wanted, ...rest] = path;
    const open = this.#text[start];
    if (wanted === undefined || (open !== "{" && open !== "[")) return start;
    for (const key of this.#entries(open)) {
      if (key === wanted) return this.find(rest);
      this.#skipValue();
    }
    return start;
  }

  /** The keys of the object or the indexes of the list that starts here, each with the scanner standing before its value. */
  *#entries(open: string): Generator<string> {
    this.#at++;
    for (let index = 0; ; index++) {
      this.#match(SPACE);
      const next = this.#text[this.#at];
      if (next === undefined || next === "}" || next === "]") break;
      if (open === "{") {
        const key = this.#match(STRING)?.slice(1, -1) ?? this.#match(WORD) ?? "";
        this.#match(SPACE);
        this.#at++; // the colon
        yield key;
      } else yield String(index);
      this.#match(SPACE);
      if (this.#text[this.#at] === ",") this.#at++;
    }
    this.#at++;
  }

  #skipValue(): void {
    this.#match(SPACE);
    const open = this.#text[this.#at];
    if (open === "{" || open === "[") {
      for (const _ of this.#entries(open)) this.#skipValue();
    } else if (this.#match(STRING) === undefined && this.#match(WORD) === undefined) this.#at++;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found) this.#at += found.length;
    return found || undefined;
  }
}
