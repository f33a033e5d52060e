/** The arguments of the command line, split where a script's own begin. */
export interface SplitArguments {
  /** For this program. */
  readonly own: readonly string[];
  /** Everything after the script of `run` or `plan`, or after the target of `exec`: no flag in it is ours. */
  readonly script: readonly string[];
}

/** The commands whose words end with their first argument, and the options of theirs that take a value of their own. */
const FOREIGN_WORDS: Readonly<Record<string, readonly string[]>> = {
  run: [],
  plan: [],
  exec: ["-e", "--env", "-u", "--user", "-w", "--workdir", "--root", "--config"],
};

/**
 * Splits `run [options] <script> [arguments]`, and `plan` and `exec` likewise, after the script or the target; other commands are all ours. `--` before
 * it ends the options, and one right behind the target of `exec` is no part of its command.
 */
export function splitArguments(argv: readonly string[]): SplitArguments {
  const command = argv.findIndex((word) => !word.startsWith("-"));
  const withValue = FOREIGN_WORDS[argv[command] ?? ""];
  if (command === -1 || !withValue) return { own: argv, script: [] };
  const after = argv.slice(command + 1);
  const first = firstArgument(after, withValue);
  if (first === undefined) return { own: argv, script: [] };
  const end = after[first] === "--" ? first + 2 : first + 1;
  const own = [...argv.slice(0, command + 1), ...after.slice(0, end).filter((word) => word !== "--")];
  const rest = after.slice(end);
  return { own, script: argv[command] === "exec" && rest[0] === "--" ? rest.slice(1) : rest };
}

function firstArgument(words: readonly string[], withValue: readonly string[]): number | undefined {
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    if (withValue.includes(word)) index++;
    else if (word === "--" || !word.startsWith("-")) return index;
  }
  return undefined;
}
