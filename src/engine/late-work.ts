import { TapvisorError } from "../base/errors.ts";

/** Acquisitions that have passed their deadline and still run, by what they are for. */
export class LateWork {
  readonly #running = new Map<string, Set<Promise<unknown>>>();

  /** Keeps what `work` is for taken until it has ended, its own release included. */
  add(sandbox: string, container: string | undefined, work: Promise<unknown>): void {
    const key = keyOf(sandbox, container);
    const running = this.#running.get(key) ?? new Set();
    this.#running.set(key, running.add(work));
    const forget = () => {
      running.delete(work);
      if (running.size === 0) this.#running.delete(key);
    };
    work.then(forget, forget);
  }

  /**
   * For an operation about to begin: an earlier one on the same thing may have failed while a backend was still at work for it. What comes of that work
   * late is released by the same names that this operation would use.
   * @throws INVALID_STATE.
   */
  check(sandbox: string, container: string | undefined, verb: string): void {
    if (!this.#running.has(keyOf(sandbox, container))) return;
    const [kind, id] = container === undefined ? (["sandbox", sandbox] as const) : (["container", container] as const);
    throw new TapvisorError("INVALID_STATE", `Cannot ${verb} "${id}": an earlier attempt has failed and its work has not ended yet`, {
      data: { kind, id, state: "ending", verb, allowed: ["ended"] },
      hint: "a backend did not answer in time; try again when it has, or use another id",
    });
  }
}

/** No id has a slash. */
function keyOf(sandbox: string, container: string | undefined): string {
  return `${sandbox}/${container ?? ""}`;
}
