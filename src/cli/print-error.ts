import { inspect } from "node:util";
import { type AnyTapvisorError, isTapvisorError, messageOf } from "../base/errors.ts";
import { printableLines } from "../base/printable.ts";
import { type Paint, painter } from "./paint.ts";

export interface PrintOptions {
  /** Stack traces too. */
  readonly verbose: boolean;
  readonly paint: Paint;
}

/** Prints what was thrown on stderr. */
export function printError(thrown: unknown, verbose: boolean): void {
  process.stderr.write(`${formatError(thrown, { verbose, paint: painter(process.stderr) })}\n`);
}

/**
 * What was thrown, as a person reads it: an error of this project as its code, message, hint, rollback and causes, without a stack unless
 * `verbose`; anything else in full, since its stack is all there is to go by. What could steer the terminal is shown instead of sent: any text of
 * an error may be a guest's, that of a plugin's or a script's own too.
 */
export function formatError(thrown: unknown, options: PrintOptions): string {
  const pair = suppressedPair(thrown);
  if (pair) {
    const title = options.paint("bold", "then, while cleaning up:");
    return `${formatError(pair.first, options)}\n${title}\n${formatError(pair.cleanup, options)}`;
  }
  if (!isTapvisorError(thrown)) {
    const shown = printableLines(inspect(thrown));
    return thrown instanceof Error ? shown : `${options.paint("red", "error:")} the script threw ${shown}`;
  }
  const lines = [`${options.paint("red", `error[${thrown.code}]:`)} ${printableLines(thrown.message)}`];
  if (thrown.hint) lines.push(`  ${options.paint("bold", "hint:")} ${printableLines(thrown.hint)}`);
  lines.push(...[...rollbackLines(thrown), ...causeLines(thrown)].map(printableLines));
  if (options.verbose && thrown.stack) lines.push(options.paint("dim", indent(printableLines(thrown.stack))));
  return lines.join("\n");
}

function rollbackLines({ rollback }: AnyTapvisorError): string[] {
  if (!rollback) return [];
  const undone = rollback.undone.length > 0 ? [`  rolled back: ${rollback.undone.join(", ")}`] : [];
  return [...undone, ...rollback.left.map((left) => `  left behind: ${left.kind} of step ${left.step} (${left.owner}): ${left.reason}`)];
}

// An error may be its own cause's cause: seen ones end the chain.
function causeLines(error: AnyTapvisorError): string[] {
  const lines: string[] = [];
  const seen = new Set<unknown>([error]);
  for (let cause = error.cause; cause !== undefined && !seen.has(cause); cause = cause instanceof Error ? cause.cause : undefined) {
    seen.add(cause);
    if (error.message.includes(messageOf(cause))) continue; // already told
    lines.push(`  caused by: ${isTapvisorError(cause) ? `${cause.code}: ` : ""}${messageOf(cause)}`);
  }
  return lines;
}

/** The two errors of `await using` when a body failed and its disposal too: the body's is the one that matters. */
function suppressedPair(thrown: unknown): { first: unknown; cleanup: unknown } | undefined {
  if (!(thrown instanceof Error) || !("suppressed" in thrown) || !("error" in thrown)) return undefined;
  return { first: thrown.suppressed, cleanup: thrown.error };
}

function indent(text: string): string {
  return text.replace(/^/gm, "  ");
}
