import { MAX_TEXT } from "./limits.ts";

// C0 and C1 controls, line separators, bidirectional marks and overrides, lone surrogates: all that could move, hide or forge terminal output.
const UNSAFE =
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Text from the guest, made fit for an error message: at most `max` characters (4096 by default) of it, control characters as `\u{1b}`. */
export function guestText(text: string, max: number = MAX_TEXT): string {
  const cut = text.length > max ? text.slice(0, max) : text;
  const escaped = cut.replace(UNSAFE, (character) => `\\u{${character.charCodeAt(0).toString(16)}}`);
  return cut === text ? escaped : `${escaped}… (${text.length - max} characters more)`;
}
