import { isTapvisorError, TapvisorError } from "../base/errors.ts";
import type { Holding, Json } from "../contracts/holding.ts";
import type { StateStore } from "../contracts/state-store.ts";
import { RECORD_VERSION, type SandboxRecord } from "./record.ts";

type Volatile = () => Promise<void>;
type NewHolding = Pick<Holding, "step" | "owner" | "kind" | "container" | "intent">;

/**
 * One sandbox's record and its way to the state store. Holdings are added with their intent before anything happens and completed with
 * what was granted; releases that are plain functions of this process (a hook's `defer`) stand in the same order but never go to the store.
 */
export class Journal {
  readonly record: SandboxRecord;
  readonly #store: StateStore;
  readonly #volatile = new Map<number, Volatile>();
  /** Holdings that a later step will acquire, and whether a write has brought them to the store by now. */
  readonly #expected = new Map<number, { stored: boolean }>();
  #stored: boolean;
  #saving: Promise<void> = Promise.resolve();
  /** The last write failed: what is stored is older than the record. */
  #stale = false;

  private constructor(store: StateStore, record: SandboxRecord, stored: boolean) {
    this.#store = store;
    this.record = record;
    this.#stored = stored;
  }

  /** The journal of a sandbox that is about to be; nothing is stored yet. */
  static draft(store: StateStore, record: SandboxRecord): Journal {
    return new Journal(store, record, false);
  }

  /** Stores a drafted record. @throws ALREADY_EXISTS before anything else has happened. */
  store(): Promise<void> {
    const create = this.#store.create(this.record.id, toJson(this.record)).then(() => {
      this.#stored = true;
    });
    this.#saving = create.catch(() => {}); // whoever removes it waits for it, also when the caller has given up
    return create;
  }

  get stored(): boolean {
    return this.#stored;
  }

  /** The journal of a stored sandbox; `undefined` when there is none. @throws STATE_CORRUPT. */
  static async open(store: StateStore, id: string): Promise<Journal | undefined> {
    const stored = await store.read(id);
    if (stored === undefined) return undefined;
    return new Journal(store, checkRecord(id, stored), true);
  }

  /** Adds a holding about to be acquired, after those there are and before those that are only expected. It reaches the store with the next `save`. */
  intend(holding: NewHolding): Holding {
    const { holdings } = this.record;
    const added: Holding = { ...holding, id: this.record.nextHolding++, status: "pending" };
    const first = holdings.findIndex(({ id }) => this.#expected.has(id));
    holdings.splice(first === -1 ? holdings.length : first, 0, added);
    return added;
  }

  /** Adds a holding that a later step will acquire: the writes of the steps before it take its intent to the store, and it stays the last. */
  expect(holding: NewHolding): void {
    const added = this.intend(holding);
    this.record.holdings = [...this.record.holdings.filter(({ id }) => id !== added.id), added];
    this.#expected.set(added.id, { stored: false });
  }

  /** The holding that was expected for a step, which begins now; `stored` tells whether it needs a write of its own. */
  meet(step: string, container: string | undefined): { readonly holding: Holding; readonly stored: boolean } | undefined {
    const holding = this.record.holdings.find((each) => this.#expected.has(each.id) && each.step === step && each.container === container);
    if (!holding) return undefined;
    const stored = this.#expected.get(holding.id)?.stored === true;
    this.#expected.delete(holding.id);
    return { holding, stored };
  }

  /** Drops what was expected for an operation that has failed before those steps: nothing of it has happened. */
  dropExpected(wanted: (holding: Holding) => boolean): void {
    for (const holding of this.record.holdings.filter((each) => this.#expected.has(each.id) && wanted(each))) this.drop(holding);
  }

  /** Adds a release of this process only. */
  intendVolatile(step: string, owner: string, release: Volatile, container?: string): Holding {
    const added = this.intend({ step, owner, kind: "deferred", intent: null, ...(container === undefined ? {} : { container }) });
    this.#volatile.set(added.id, release);
    return this.update(added, { status: "held" });
  }

  volatileOf(holding: Holding): Volatile | undefined {
    return this.#volatile.get(holding.id);
  }

  /** Makes a holding another container's, or the sandbox's own: what it holds is released with that one. */
  handOver(holding: Holding, to: string | undefined): void {
    const { container: _, ...rest } = this.get(holding.id);
    const handed: Holding = to === undefined ? rest : { ...rest, container: to };
    this.record.holdings = this.record.holdings.map((each) => (each.id === holding.id ? handed : each));
  }

  update(holding: Holding, change: Partial<Pick<Holding, "status" | "grant" | "reason">>): Holding {
    const updated = { ...this.get(holding.id), ...change };
    this.record.holdings = this.record.holdings.map((each) => (each.id === holding.id ? updated : each));
    return updated;
  }

  drop(holding: Holding): void {
    this.#volatile.delete(holding.id);
    this.#expected.delete(holding.id);
    this.record.holdings = this.record.holdings.filter((each) => each.id !== holding.id);
  }

  has(holding: Holding): boolean {
    return this.record.holdings.some(({ id }) => id === holding.id);
  }

  get(id: number): Holding {
    const found = this.record.holdings.find((each) => each.id === id);
    if (!found) throw new TapvisorError("INTERNAL", `Cannot find holding ${id} of sandbox ${this.record.id}`, { data: {} });
    return found;
  }

  /** Writes the record as it stands now; on disk when it resolves. Writes follow one another. */
  async save(): Promise<void> {
    const write = this.#saving.then(async () => {
      if (!this.#stored) return;
      const holdings = this.record.holdings.filter((holding) => !this.#volatile.has(holding.id));
      const expected = [...this.#expected.values()];
      this.#stale = true;
      await this.#store.write(this.record.id, toJson({ ...this.record, holdings }));
      this.#stale = false;
      for (const each of expected) each.stored = true;
    });
    this.#saving = write.catch(() => {});
    return write;
  }

  /** Writes the record, also when it has been removed: something of it is there after all. @throws ALREADY_EXISTS when its id is another's now. */
  async saveOrStore(): Promise<void> {
    await this.#saving;
    if (this.#stored) return this.save();
    this.record.state = "failed";
    return this.store();
  }

  /** For a verb that has nothing to do, since an earlier try did all but store it. Tells whether there was something to store. */
  async saveIfStale(): Promise<boolean> {
    await this.#saving;
    const stale = this.#stale;
    if (stale) await this.save();
    return stale;
  }

  /** Removes the record: the sandbox is no more. Later saves do nothing. */
  async remove(): Promise<void> {
    await this.#saving;
    if (this.#stored) await this.#store.remove(this.record.id);
    this.#stored = false;
  }
}

function toJson(record: SandboxRecord): Json {
  return record as unknown as Json;
}

function checkRecord(id: string, stored: Json): SandboxRecord {
  const record = stored as unknown as Partial<SandboxRecord> | null;
  if (
    typeof record === "object" &&
    record !== null &&
    record.version === RECORD_VERSION &&
    record.id === id &&
    Array.isArray(record.holdings)
  ) {
    return { ...record, devices: record.devices ?? {} } as SandboxRecord;
  }
  throw new TapvisorError("STATE_CORRUPT", `Cannot use the record of sandbox "${id}": not a record of version ${RECORD_VERSION}`, {
    data: { file: id },
    hint: "it may come from a newer release; use that release to delete the sandbox",
  });
}

/** Whether a read failed since the record itself is damaged. */
export function isCorrupt(error: unknown): boolean {
  return isTapvisorError(error) && error.code === "STATE_CORRUPT";
}
