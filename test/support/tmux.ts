import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { findProcessesByMark } from "../../src/base/process-identity.ts";

const run = promisify(execFile);

/** A terminal of 80 columns and 24 rows in which a person could sit, on a tmux server of its own. */
export interface Tmux extends AsyncDisposable {
  /** Types keys by their names in tmux: `Enter`, `C-c`, or text. */
  type(...keys: readonly string[]): Promise<void>;
  /** What stands on the screen. */
  screen(): Promise<string>;
  /** Waits until the screen holds the text. @throws with the screen after `timeoutMs`, 60 s by default. */
  shows(text: string | RegExp, timeoutMs?: number): Promise<string>;
  resize(columns: number, rows: number): Promise<void>;
}

export async function tmux(cwd: string, environment: Readonly<Record<string, string>> = {}): Promise<Tmux> {
  const server = `tapvisor-${randomBytes(6).toString("hex")}`;
  const tell = async (...args: readonly string[]) => (await run("tmux", ["-L", server, ...args])).stdout;
  const variables = Object.entries(environment).flatMap(([name, value]) => ["-e", `${name}=${value}`]);
  await tell("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "-c", cwd, ...variables, "bash --norc --noprofile");
  await tell("send-keys", "PS1='he''re$ '; clear", "Enter"); // a shell takes no prompt from its environment
  const screen = () => tell("capture-pane", "-p");
  return {
    async type(...keys) {
      await tell("send-keys", ...keys);
    },
    screen,
    async shows(text, timeoutMs = 60_000) {
      const deadline = performance.now() + timeoutMs;
      for (;;) {
        const now = await screen();
        if (typeof text === "string" ? now.includes(text) : text.test(now)) return now;
        if (performance.now() > deadline) throw new Error(`the terminal does not show ${String(text)}:\n${now}`);
        await delay(50); // nothing tells a tmux client of a change of the screen
      }
    },
    async resize(columns, rows) {
      await tell("resize-window", "-x", String(columns), "-y", String(rows));
    },
    async [Symbol.asyncDispose]() {
      await tell("kill-server").catch(() => {}); // it ends with its last shell
      while ((await findProcessesByMark(server)).length > 0) await delay(20); // it answers before it has ended
    },
  };
}
