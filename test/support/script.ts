import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";

export interface RunningScript {
  readonly child: ChildProcess;
  /** Resolves with the next line of stdout that starts so; rejects when the script ends before. */
  line(start: string): Promise<string>;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null; stderr: string }>;
}

/** Runs a script of a test's own in a process of its own, as tsx would. */
export async function startScript(directory: string, name: string, body: string, env: NodeJS.ProcessEnv = {}): Promise<RunningScript> {
  const file = join(directory, `${name}.mts`);
  await writeFile(file, body);
  const repository = join(import.meta.dirname, "../..");
  const child = spawn(process.execPath, ["--import", "tsx", file], {
    cwd: repository,
    env: { ...process.env, TSX_TSCONFIG_PATH: join(repository, "tsconfig.json"), ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stderr = "";
  child.stderr?.on("data", (chunk) => {
    stderr += chunk;
  });
  const ended = once(child, "close").then(([code, signal]) => ({ code, signal, stderr }));
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(line);
    for (const wake of waiting) wake();
  });
  const line = (start: string) =>
    new Promise<string>((resolve, reject) => {
      const look = () => {
        const found = lines.find((each) => each.startsWith(start));
        if (found === undefined) return;
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
      void ended.then((end) => reject(new Error(`ended before "${start}": ${JSON.stringify(end)}`)));
    });
  return { child, line, ended };
}
