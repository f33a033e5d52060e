import { CliError } from "./cli-error.ts";
import { EXIT } from "./exit-codes.ts";

/** One end of a copy: a path of this host, a stream of this process, or an absolute path in a container. */
export type CopyPlace =
  | { readonly kind: "host"; readonly path: string }
  | { readonly kind: "stream" }
  | { readonly kind: "container"; readonly target: string; readonly path: string };

/** A lone dash on its way through the parser of options, which would take it for one. */
export const DASH = "\0-";

/** `<sandbox>[/<container>]:<path>`, or else of the host; a host's path with a colon begins with `/` or `.`. @throws CliError for a path in a container that is not absolute. */
export function copyPlace(word: string): CopyPlace {
  if (word === DASH) return { kind: "stream" };
  const colon = word.indexOf(":");
  if (colon < 1 || word.startsWith("/") || word.startsWith(".")) return { kind: "host", path: word };
  const [target, path] = [word.slice(0, colon), word.slice(colon + 1)];
  if (path.startsWith("/")) return { kind: "container", target, path };
  throw new CliError(EXIT.usage, `Cannot use "${word}": wanted <sandbox>[/<container>]:<absolute path>`, {
    hint: `a file of this host with a colon in its name: ./${word}`,
  });
}
