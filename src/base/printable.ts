// C0 and C1 controls, DEL, line separators, bidirectional marks and overrides, lone surrogates: all that could move, hide or forge output.
const UNSAFE =
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Text of unknown origin as one line that is safe on a terminal and in a log: what could steer it is shown as `\n`, `\t` or `\u001b`. */
export function printable(text: string): string {
  return text.replace(UNSAFE, escapeOf);
}

/** The same for text of several lines: newlines and tabs stay as they are. */
export function printableLines(text: string): string {
  return text.replace(UNSAFE, (character) => (character === "\n" || character === "\t" ? character : escapeOf(character)));
}

function escapeOf(character: string): string {
  if (character === "\n") return "\\n";
  if (character === "\t") return "\\t";
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
