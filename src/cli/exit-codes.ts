/** Exit codes of the command line besides a script's own. */
export const EXIT = {
  ok: 0,
  /** The command did its work and the answer is no, or it failed. */
  failed: 1,
  /** The command line itself is wrong. */
  usage: 2,
  /** `run` itself failed before the script could begin. */
  ownFailure: 125,
  /** What should run exists and cannot be run. */
  notExecutable: 126,
  notFound: 127,
} as const;
