import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

export interface CliResult {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command line from its sources, in another directory, as a user would: no terminal, no colours. */
export async function cli(
  args: readonly string[],
  options: { readonly cwd: string; readonly env?: NodeJS.ProcessEnv },
): Promise<CliResult> {
  const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
  const env = { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0", LOG_LEVEL: "silent", ...options.env };
  const child = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), main, ...args], {
    ...options,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited = new Promise<number | null>((resolve, reject) => child.once("error", reject).once("close", resolve));
  const [exitCode, stdout, stderr] = await Promise.all([exited, text(child.stdout), text(child.stderr)]);
  return { exitCode, stdout, stderr };
}
