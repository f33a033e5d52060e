/** The arguments of the command line, split where a script's own begin. */
export interface SplitArguments {
  /** For this program. */
  readonly own: readonly string[];
  /** Everything after the script of `run` or `plan`: no flag in it is ours. */
  readonly script: readonly string[];
}

const RUNS_SCRIPT: readonly string[] = ["run", "plan"];

/**
 * Splits `run [options] <script> [arguments]`, and `plan` likewise, after the script; other commands are all ours. `--` before the script ends the
 * options. No option of theirs takes a value of its own, so the first word that is not an option is the script.
 */
export function splitArguments(argv: readonly string[]): SplitArguments {
  const command = argv.findIndex((word) => !word.startsWith("-"));
  if (command === -1 || !RUNS_SCRIPT.includes(argv[command] ?? "")) return { own: argv, script: [] };
  const after = argv.slice(command + 1);
  const script = after.findIndex((word) => word === "--" || !word.startsWith("-"));
  if (script === -1) return { own: argv, script: [] };
  const end = after[script] === "--" ? script + 2 : script + 1;
  const own = [...argv.slice(0, command + 1), ...after.slice(0, end).filter((word) => word !== "--")];
  return { own, script: after.slice(end) };
}
