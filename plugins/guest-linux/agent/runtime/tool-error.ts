/** A tool that ended with a failure; `stdout` and `stderr` are all it wrote. */
export class ToolError extends Error {
  readonly stdout: string;
  readonly stderr: string;

  constructor(message: string, stdout: string, stderr: string) {
    super(message);
    this.stdout = stdout;
    this.stderr = stderr;
  }
}
