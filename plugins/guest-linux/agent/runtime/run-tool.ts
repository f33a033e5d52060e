import { spawn } from "node:child_process";
import { setPriority } from "node:os";
import { ToolError } from "./tool-error.ts";

/** Runs a tool of the guest to its end and answers its output. Arguments are never put together into a command line. */
export type RunTool = (args: readonly string[], signal?: AbortSignal) => Promise<string>;

/** What is kept of a tool's output: more than any has to say, but for a list of all processes. */
const MAX_OUTPUT_BYTES = 1024 * 1024;

/**
 * Runs `program`, which may be a multi-call binary such as busybox; with a niceness of 19 only when nothing else wants the processor.
 * @throws ToolError when it cannot be run or fails.
 */
export function toolRunner(program: string, { niceness = 0 } = {}): RunTool {
  return (args, signal) =>
    new Promise((resolve, reject) => {
      const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], ...(signal && { signal, killSignal: "SIGKILL" }) });
      if (niceness > 0 && child.pid !== undefined) setPriority(child.pid, niceness);
      const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
      child.once("error", (error) => reject(signal?.aborted ? signal.reason : new ToolError(`${program}: ${error.message}`, "", "")));
      child.once("close", (code, killedBy) => {
        if (code === 0) resolve(stdout());
        else reject(new ToolError(stderr().trim() || `${program} ${args[0] ?? ""}: ended with ${code ?? killedBy}`, stdout(), stderr()));
      });
    });
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream.on("data", (chunk: Buffer) => {
    if (bytes < MAX_OUTPUT_BYTES) chunks.push(chunk);
    bytes += chunk.length;
  });
  return () => Buffer.concat(chunks).toString("utf8");
}
