import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import type { GuestPaths } from "../guest-paths.ts";
import type { Kept } from "../port.ts";
import { ToolError } from "../runtime/tool-error.ts";
import { until } from "../until.ts";
import { RENEWER_SCRIPT } from "./renewer-script.ts";

export type RenewerPlaces = Pick<GuestPaths, "perl" | "dev" | "machineId">;

/** A process that waits to give the guest random numbers and a time of its own: its start alone takes tens of milliseconds under emulation. */
export class Renewer {
  readonly #child: ChildProcess;
  #ended = false;
  #failed: ToolError | undefined;
  #said = (data: Buffer): void => this.#answered(data.toString("latin1").trim());
  #answered: (answer: string) => void = () => {};
  #gone: (error: ToolError) => void = () => {};

  private constructor({ perl, dev, machineId }: RenewerPlaces, port: number | undefined) {
    const args = ["-e", RENEWER_SCRIPT, join(dev, "urandom"), machineId];
    const child = spawn(perl, args, { stdio: ["pipe", "pipe", "ignore", ...(port === undefined ? [] : [port])], env: {} });
    this.#child = child;
    child.stdout?.on("data", (data: Buffer) => this.#said(data));
    child.stdin?.on("error", () => {}); // "close" follows
    child.once("error", (error) => this.#end(new ToolError(`${perl}: ${error.message}`, "", "")));
    child.once("close", (code, signal) => this.#end(new ToolError(`${perl}: ended with ${code ?? signal}`, "", "")));
  }

  /** Starts one, and resolves when all that is left to do is the setting. @throws ToolError. */
  static async start(places: RenewerPlaces, signal: AbortSignal, port?: number): Promise<Renewer> {
    const renewer = new Renewer(places, port);
    try {
      const said = await until(renewer.#next(), signal);
      if (said !== "ready") throw new ToolError(`${places.perl}: ${said}`, "", "");
      return renewer;
    } catch (error) {
      renewer.end();
      throw error;
    }
  }

  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Sets the clock to `clock`, nanoseconds since 1970, plus what has passed since `received`, of the clock that never jumps; before that, gives the kernel the random
   * bytes, in hexadecimal digits, and has it use them at once. @throws ToolError.
   */
  async set(entropy: string | undefined, clock: bigint, received: bigint, signal: AbortSignal): Promise<void> {
    const answered = this.#next();
    this.#child.stdin?.write(`${entropy ?? "-"} ${clock} ${received}\n`);
    const said = await until(answered, signal);
    if (said !== "ok") throw new ToolError(said, "", "");
  }

  /**
   * Has the process answer the stream and keep the port, of which nobody else reads or writes until this resolves: with what is left for the agent. It ends then.
   * Never rejects: a process that fails has kept nothing.
   */
  keep(stream: number): Promise<Kept> {
    const said: Buffer[] = [];
    this.#said = (data) => void said.push(data);
    return new Promise((resolve) => {
      this.#child.once("close", () => resolve(keptOf(Buffer.concat(said))));
      this.#child.stdin?.write(`keep ${stream}\n`);
    });
  }

  /** Again is nothing. */
  end(): void {
    if (!this.#ended) this.#child.kill("SIGKILL");
  }

  #next(): Promise<string> {
    if (this.#failed) return Promise.reject(this.#failed);
    return new Promise((resolve, reject) => {
      this.#answered = resolve;
      this.#gone = reject;
    });
  }

  #end(error: ToolError): void {
    this.#ended = true;
    this.#failed ??= error;
    this.#gone(error);
  }
}

function keptOf(said: Buffer): Kept {
  const end = said.indexOf("\n");
  const begun = said.toString("latin1", 0, Math.max(end, 0)) === "passed 1";
  return { begun, rest: end < 0 ? Buffer.alloc(0) : said.subarray(end + 1) };
}
