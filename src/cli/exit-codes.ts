/** Exit codes of the command line besides a script's own. */
export const EXIT = {
  ok: 0,
  /** The command did its work and the answer is no. */
  failed: 1,
  /** The command line itself is wrong. */
  usage: 2,
  /** This program itself failed: not the script of `run`, and not the answer of a command. */
  ownFailure: 125,
  /** What should run exists and cannot be run. */
  notExecutable: 126,
  notFound: 127,
} as const;
