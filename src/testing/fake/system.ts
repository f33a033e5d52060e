import { TapvisorError } from "../../base/errors.ts";
import type { GuestFile, GuestSandboxOptions } from "../../contracts/agent-system.ts";
import { unlessAborted } from "./aborting.ts";
import { agentError } from "./agent-error.ts";

/** Modules that a guest of the fake world has. */
const MODULES: ReadonlySet<string> = new Set(["virtio_net", "loop"]);
/** Below these a file may be copied. */
const OPEN = /^\/run\/(kata-containers|tapvisor)\/./;
const MAX_RANDOM_BYTES = 65_536;

/** What a guest keeps of what it was told. */
export interface SavedSystem {
  readonly randomBytes: number;
  readonly time: number | undefined;
  readonly canProbe: boolean;
  readonly tracing: boolean;
  readonly files: ReadonlyMap<string, { readonly file: GuestFile; readonly content: Uint8Array }>;
  readonly untold: readonly string[];
}

/** A guest of the fake world as a machine: what it was told, for tests to look at. */
export class FakeSystem {
  /** Bytes that went into its random number generator. */
  randomBytes = 0;
  /** What its clock was set to last, ms. */
  time: number | undefined;
  /** Whether it must be told of memory that is plugged in; one on x86 finds it itself. */
  canProbe = false;
  tracing = false;
  /** Files that were copied into it, by path. */
  readonly files = new Map<string, { readonly file: GuestFile; readonly content: Uint8Array }>();
  readonly #untold = new Set<string>();
  readonly #waiting = new Set<{ readonly resolve: (id: string) => void; readonly reject: (error: Error) => void }>();

  save(): SavedSystem {
    const { randomBytes, time, canProbe, tracing, files } = this;
    return { randomBytes, time, canProbe, tracing, files: new Map(files), untold: [...this.#untold] };
  }

  restore({ randomBytes, time, canProbe, tracing, files, untold }: SavedSystem): void {
    Object.assign(this, { randomBytes, time, canProbe, tracing });
    for (const [path, file] of files) this.files.set(path, file);
    for (const id of untold) this.#untold.add(id);
  }

  /** @throws AGENT_FAILED for what a sandbox cannot be given. */
  checkSandbox({ dns = [], guestHookPath = "/", kernelModules = [] }: GuestSandboxOptions): void {
    const refuse = (status: string, reason: string) => agentError("CreateSandbox", status, reason);
    if (dns.some((line) => /[\n\0]/.test(line))) throw refuse("INVALID_ARGUMENT", "a line of dns is no line");
    if (!guestHookPath.startsWith("/")) throw refuse("INVALID_ARGUMENT", "guest_hook_path is not absolute");
    const missing = kernelModules.find(({ name }) => !MODULES.has(name.replaceAll("-", "_")));
    if (missing) throw refuse("NOT_FOUND", `no module ${missing.name}`);
  }

  reseed(data: Uint8Array): void {
    want(data.length >= 1 && data.length <= MAX_RANDOM_BYTES, "data", data.length, `1 to ${MAX_RANDOM_BYTES} bytes`);
    this.randomBytes += data.length;
  }

  setTime(unixMs: number): void {
    want(Number.isFinite(unixMs) && unixMs >= 0, "unixMs", unixMs, "milliseconds since 1970");
    this.time = unixMs;
  }

  async copyFile(file: GuestFile, content: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
    const { path, bytes } = file;
    want(path.startsWith("/") && !path.includes("/../"), "file.path", path, "a plain absolute path");
    if (!OPEN.test(path)) throw agentError("CopyFile", "INVALID_ARGUMENT", `${path} is not below an open directory`);
    const pieces: Uint8Array[] = [];
    for await (const piece of content) pieces.push(piece);
    const whole = Buffer.concat(pieces);
    want(whole.length === bytes, "content", whole.length, `${bytes} bytes, as file.bytes says`);
    this.files.set(path, { file, content: whole });
  }

  probe(addresses: readonly number[]): void {
    for (const address of addresses) want(Number.isSafeInteger(address) && address >= 0, "addresses", address, "an address");
    if (!this.canProbe) throw agentError("MemHotplugByProbe", "FAILED_PRECONDITION", "this kernel finds memory itself");
  }

  trace(method: "StartTracing" | "StopTracing"): void {
    const wanted = method === "StopTracing";
    if (this.tracing !== wanted) throw agentError(method, "FAILED_PRECONDITION", wanted ? "it does not trace" : "it traces already");
    this.tracing = !wanted;
  }

  /** Memory ran out in a container. */
  tellOom(id: string): void {
    const [waiter] = this.#waiting;
    if (waiter) waiter.resolve(id);
    else this.#untold.add(id);
  }

  nextOom(signal: AbortSignal): Promise<string> {
    const [id] = this.#untold;
    if (id !== undefined) {
      this.#untold.delete(id);
      return Promise.resolve(id);
    }
    let leave = () => {};
    const told = new Promise<string>((resolve, reject) => {
      const waiter = { resolve: (each: string) => settle(() => resolve(each)), reject: (error: Error) => settle(() => reject(error)) };
      leave = () => void this.#waiting.delete(waiter);
      const settle = (then: () => void) => {
        leave();
        then();
      };
      this.#waiting.add(waiter);
    });
    return unlessAborted(signal, "memory to run out in a container", told).finally(leave);
  }

  /** The sandbox goes, and with it what was waited for. */
  end(): void {
    this.#untold.clear();
    for (const waiter of [...this.#waiting]) waiter.reject(agentError("GetOOMEvent", "NOT_FOUND", "the sandbox is gone"));
  }
}

function want(holds: boolean, path: string, value: unknown, wanted: string): void {
  if (holds) return;
  throw new TapvisorError("INVALID_INPUT", `Cannot use ${path} ${JSON.stringify(value)}: wanted ${wanted}`, {
    data: { path, value, wanted },
  });
}
