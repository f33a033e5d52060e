import { onceAborted } from "../../base/deadline.ts";
import { TapvisorError } from "../../base/errors.ts";
import type { OciProcess } from "../../contracts/oci.ts";

/** What a scripted program sees. */
export interface FakeProcessContext {
  /** All of its command line, its own name first. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: AsyncIterable<Uint8Array>;
  /** Writes to the standard output; waits while its pipe is full. */
  write(data: string | Uint8Array): Promise<void>;
  writeErr(data: string | Uint8Array): Promise<void>;
  /** The size of its terminal now; `undefined` when it has none. A change of it is a SIGWINCH. */
  terminal(): { readonly rows: number; readonly columns: number } | undefined;
  /**
   * What the program keeps, as plain data. In a VM that goes on from a saved one the program begins again, and finds here what it had kept by then.
   */
  readonly memory: Record<string, unknown>;
  /** Fires when the process is killed; what the program does after that nobody sees. */
  readonly signal: AbortSignal;
  /** Handles a signal (its number) in place of being killed by it. SIGKILL cannot be handled. */
  trap(signal: number, handler: () => void): void;
}

/** A program of the fake world: resolves with its exit code. One that throws prints the reason and exits with 1. */
export type FakeProgram = (context: FakeProcessContext) => Promise<number> | number;

/** The programs by name; `"not-executable"` is a file without the execute permission. */
export type FakePrograms = Record<string, FakeProgram | "not-executable">;

const MAX_TIMER_MS = 2 ** 31 - 1;

/** What every container of the fake world finds. `sh` knows `exit` only. */
export function defaultPrograms(): FakePrograms {
  return {
    true: () => 0,
    false: () => 1,

    async echo({ args, write }) {
      await write(`${args.slice(1).join(" ")}\n`);
      return 0;
    },

    async cat({ stdin, write }) {
      for await (const chunk of stdin) await write(chunk);
      return 0;
    },

    async sleep({ args, signal, writeErr }) {
      const seconds = args[1] === "infinity" ? Number.POSITIVE_INFINITY : Number.parseFloat(args[1] ?? "");
      if (!(seconds >= 0)) {
        await writeErr(`sleep: invalid time interval '${args[1] ?? ""}'\n`);
        return 1;
      }
      await Promise.race([onceAborted(signal), later(seconds * 1000, signal)]);
      return 0;
    },

    async sh({ args, writeErr }) {
      const [, code = "0"] = /^\s*exit(?:\s+(\d+))?\s*$/.exec(args[2] ?? "") ?? [];
      if (args[1] === "-c" && /^\s*exit\b/.test(args[2] ?? "")) return Number(code);
      await writeErr('sh: the fake world\'s shell knows `-c "exit N"` only; add a program to world.programs\n');
      return 2;
    },
  };
}

/** The program of a process. @throws COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE. */
export function runnable(programs: FakePrograms, { args: [command = ""] }: Pick<OciProcess, "args">, subject: string): FakeProgram {
  const program = findProgram(programs, command);
  if (program === undefined) {
    throw new TapvisorError("COMMAND_NOT_FOUND", `Cannot run "${command}" in ${subject}: it does not exist there`, {
      data: { command, exitCode: 127 },
      hint: "add it to world.programs",
    });
  }
  if (program !== "not-executable") return program;
  throw new TapvisorError("COMMAND_NOT_EXECUTABLE", `Cannot run "${command}" in ${subject}: it cannot be executed`, {
    data: { command, exitCode: 126 },
  });
}

/** The program that a command names; system directories are searched as PATH would be. */
function findProgram(programs: FakePrograms, command: string): FakeProgram | "not-executable" | undefined {
  const name = Object.hasOwn(programs, command) ? command : command.replace(/^\/(usr\/)?s?bin\//, "");
  return Object.hasOwn(programs, name) ? programs[name] : undefined;
}

function later(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (ms === Number.POSITIVE_INFINITY) return;
    const timer = setTimeout(resolve, Math.min(ms, MAX_TIMER_MS));
    signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
  });
}
