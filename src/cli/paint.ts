import { styleText } from "node:util";

export type Paint = (style: Style, text: string) => string;
type Style = "red" | "green" | "yellow" | "bold" | "dim";

/** Colours for a stream: only on a terminal, never with `NO_COLOR` or a dumb one; `FORCE_COLOR` overrides. */
export function painter(stream: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): Paint {
  const forced = env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== "0" && env.FORCE_COLOR !== "false";
  const wanted = forced || (stream.isTTY === true && env.TERM !== "dumb");
  const colours = wanted && !env.NO_COLOR;
  // `validateStream` would make styleText look at stdout, whichever stream is meant.
  return (style, text) => (colours ? styleText(style, text, { validateStream: false }) : text);
}
