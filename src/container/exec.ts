import { withDeadline } from "../base/deadline.ts";
import { isTapvisorError } from "../base/errors.ts";
import { newId } from "../base/ids.ts";
import { DEADLINES } from "../config/defaults.ts";
import { type ExecConfig, type ExecOptions, execConfig, ttySizeConfig } from "../config/exec-config.ts";
import type { TtySize } from "../config/process-config.ts";
import type { AgentClient, GuestProcessId } from "../contracts/agent.ts";
import type { SandboxContext } from "../engine/context.ts";
import { requireSandbox } from "../sandbox/state.ts";
import { type FollowCalls, followProcess, type GuestProcess, LONGEST_WAIT, type ProcessEnd } from "./guest-process.ts";
import type { InputStream } from "./input-stream.ts";
import { mergeLines, type OutputLine } from "./merge-lines.ts";
import type { OutputStream } from "./output-stream.ts";
import { processSpec } from "./process-spec.ts";
import { KILL, signalNumber } from "./signals.ts";
import { containerRecord, requireContainer } from "./state.ts";

/** What a process has left when it ended: its output as UTF-8, as far as nobody has read it before. */
export interface ExecResult extends ProcessEnd {
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A further process in a container: await it for its result, iterate it for its lines, or use its streams.
 *
 * An exit code other than 0 is a result, not an error. The standard input of a process that is awaited or iterated before anybody took `stdin` is closed.
 * Awaited output ends at 64 MiB for each stream (GUEST_PROTOCOL): read more through the streams.
 *
 * @example
 * const { exitCode, stdout } = await web.exec(["ls", "/data"]);
 * for await (const { stream, line } of web.exec(["make"], { cwd: "/src" })) console.log(stream, line);
 * await using shell = web.exec(["sh"], { tty: true });
 */
export class Exec implements PromiseLike<ExecResult>, AsyncIterable<OutputLine>, AsyncDisposable {
  /** Its name in the container. */
  readonly id = newId("x");
  /** Settles when it runs, or why it does not: COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE, INVALID_STATE, HOOK_FAILED, AGENT_LOST, TIMEOUT after 30 s. */
  readonly started: Promise<void>;
  readonly #sb: SandboxContext;
  readonly #where: GuestProcessId;
  readonly #process: GuestProcess;
  readonly #ended: Promise<ProcessEnd>;
  #stdinIsTaken = false;
  #result: Promise<ExecResult> | undefined;

  constructor(sb: SandboxContext, container: string, argv: unknown, options: ExecOptions) {
    const config = execConfig(argv, options);
    this.#sb = sb;
    this.#where = { container, exec: this.id };
    const running = startProcess(sb, this.#where, config, options.signal);
    this.started = running.then(() => {});
    this.started.catch(() => {}); // whoever waits for the process gets it
    this.#process = followProcess(whenIt(running, offersStreams(sb)), this.#where, true, sb.log);
    this.#ended = this.#guard(config.timeoutMs, options.signal);
    this.#ended.catch(() => {});
    if (config.input) this.#process.stdin.end(config.input);
    this.#stdinIsTaken = config.input !== undefined;
  }

  get stdin(): InputStream {
    this.#stdinIsTaken = true;
    return this.#process.stdin;
  }

  get stdout(): OutputStream {
    return this.#process.stdout;
  }

  get stderr(): OutputStream {
    return this.#process.stderr;
  }

  /** Resolves when it has ended. Read or drop the output of a process that writes much: it blocks when nobody does. */
  wait(options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {}): Promise<ProcessEnd> {
    const what = `process "${this.id}" of container "${this.#where.container}" to end`;
    return withDeadline({ what, timeoutMs: options.timeoutMs ?? LONGEST_WAIT, signal: options.signal }, () => this.#ended);
  }

  /** Sends it a signal, SIGTERM by default. One that has ended is success. */
  async kill(signal: NodeJS.Signals | number = "SIGTERM"): Promise<void> {
    const number = signalNumber(signal);
    await this.started;
    await this.#ask("the signal to", (client, call) => client.signalProcess(this.#where, number, false, call));
  }

  /** Tells its terminal how large the window is now. @throws AGENT_FAILED when it has no terminal. */
  async resizeTty(size: TtySize): Promise<void> {
    const checked = ttySizeConfig(size);
    await this.started;
    await this.#ask("the terminal's size to", (client, call) => client.resizeTty(this.#where, checked, call));
  }

  // biome-ignore lint/suspicious/noThenProperty: awaiting the process is what it is for
  then<A = ExecResult, B = never>(
    onEnd?: ((result: ExecResult) => A | PromiseLike<A>) | null,
    onError?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.#result ??= this.#collect();
    return this.#result.then(onEnd, onError);
  }

  /** The lines of both streams as they come. Whoever breaks off drops what is left. */
  async *[Symbol.asyncIterator](): AsyncGenerator<OutputLine, void, undefined> {
    this.#closeUnused();
    yield* mergeLines({ stdout: this.stdout, stderr: this.stderr });
    await this.#ended; // when it was killed by a deadline, or lost, the output alone does not tell
  }

  /** Kills it if it still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill("SIGKILL").catch(() => {}); // it never ran, or its guest is gone: then nothing runs
    this.#process.close();
  }

  async #collect(): Promise<ExecResult> {
    this.#closeUnused();
    const [stdout, stderr, end] = await Promise.all([restOf(this.stdout), restOf(this.stderr), this.#ended]);
    return { ...end, stdout, stderr };
  }

  /** A program that reads its input would wait for ever for what nobody is going to write. */
  #closeUnused(): void {
    if (!this.#stdinIsTaken) this.#process.stdin.end();
    this.#stdinIsTaken = true;
  }

  /** The process's end, or the caller's: then it is killed, and what waits for its output fails too. */
  async #guard(timeoutMs: number | undefined, signal: AbortSignal | undefined): Promise<ProcessEnd> {
    const what = `process "${this.id}" of container "${this.#where.container}"`;
    try {
      return await withDeadline({ what, timeoutMs: timeoutMs ?? LONGEST_WAIT, signal }, () => this.#process.exited);
    } catch (error) {
      if (isTapvisorError(error) && (error.code === "TIMEOUT" || error.code === "ABORTED")) {
        await this.kill("SIGKILL").catch(() => {});
        for (const stream of [this.stdout, this.stderr, this.#process.stdin]) stream.destroy(error);
      }
      throw error;
    }
  }

  #ask(
    what: string,
    request: (client: AgentClient, call: { signal: AbortSignal; log: SandboxContext["log"] }) => Promise<void>,
  ): Promise<void> {
    const wait = { what: `${what} process "${this.id}"`, timeoutMs: DEADLINES.agent };
    return withDeadline(wait, (signal) => request(this.#sb.guest.client, { signal, log: this.#sb.log }));
  }
}

/** Has the guest start it. One that may have started though nobody waits any more is killed. */
async function startProcess(
  sb: SandboxContext,
  where: GuestProcessId,
  config: ExecConfig,
  signal: AbortSignal | undefined,
): Promise<AgentClient> {
  const { container } = where;
  requireSandbox(sb, "execute in the container", "running");
  requireContainer(sb, container, "execute in", "running");
  const { argv } = await sb.hooks.amend("beforeExec", { sandbox: sb.id, container, argv: config.argv });
  const { user, env, cwd, tty, ttySize } = config;
  const spec = processSpec(containerRecord(sb, container).config, {
    args: execConfig(argv, {}).argv,
    ...(env && { env }),
    ...(cwd !== undefined && { cwd }),
    ...(user && { user }),
    tty,
    ...(ttySize && { ttySize }),
  });
  const { client } = sb.guest;
  const { log } = sb;
  try {
    const wait = { what: `"${argv[0]}" to start in container "${container}"`, timeoutMs: DEADLINES.agent, signal };
    await withDeadline(wait, (inner) => client.execProcess(where, spec, { signal: inner, log }));
  } catch (error) {
    if (isTapvisorError(error) && (error.code === "TIMEOUT" || error.code === "ABORTED")) {
      const kill = { what: `the end of process "${where.exec}"`, timeoutMs: DEADLINES.release };
      await withDeadline(kill, (inner) => client.signalProcess(where, KILL, false, { signal: inner, log })).catch(() => {});
    }
    throw error;
  }
  return client;
}

/** Where the guest cannot be reached the process does not start. */
function offersStreams({ guest }: SandboxContext): boolean {
  return guest.isConnected && guest.client.openOutput !== undefined && guest.client.openInput !== undefined;
}

/** A client whose calls wait until the process has started. */
function whenIt(running: Promise<AgentClient>, streams: boolean): FollowCalls {
  return {
    ...(streams && {
      openOutput: async (...given) => (await running).openOutput?.(...given),
      openInput: async (...given) => (await running).openInput?.(...given),
    }),
    readStdout: async (...given) => (await running).readStdout(...given),
    readStderr: async (...given) => (await running).readStderr(...given),
    writeStdin: async (...given) => (await running).writeStdin(...given),
    closeStdin: async (...given) => (await running).closeStdin(...given),
    waitProcess: async (...given) => (await running).waitProcess(...given),
    statsContainer: async (...given) => (await running).statsContainer(...given),
  };
}

async function restOf(stream: OutputStream): Promise<string> {
  return stream.readableEnded ? "" : stream.text();
}
