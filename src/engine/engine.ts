import { TapvisorError, toError } from "../base/errors.ts";
import { checkId, newId } from "../base/ids.ts";
import { DEADLINES } from "../config/defaults.ts";
import { type SandboxOptions, sandboxConfig } from "../config/sandbox-config.ts";
import type { Finding } from "../contracts/finding.ts";
import { adoptSandbox } from "../sandbox/adopt.ts";
import { createSandbox } from "../sandbox/create.ts";
import { Sandbox, type SandboxOwner } from "../sandbox/sandbox.ts";
import { forkSandbox } from "../snapshot/fork.ts";
import { restoreSnapshot } from "../snapshot/load.ts";
import { BUILD_MS, listTemplates, makeTemplate, removeTemplates, type Template } from "../template/templates.ts";
import { listVolumes, removeVolume, type Volume } from "../volume/volumes.ts";
import { type CollectReport, collect } from "./collect.ts";
import type { EngineContext, SandboxContext } from "./context.ts";
import { guardExit } from "./exit-guard.ts";
import type { TapInfo } from "./hook-runner.ts";
import { inspectSandbox, type SandboxInspection } from "./inspect.ts";
import { listSandboxes, type SandboxSummary } from "./list.ts";
import { removedAfter } from "./removed-after.ts";
import { sandboxesWith } from "./volume-users.ts";

/** Creates sandboxes and owns those it created: closing it removes them, detached ones excepted. */
export class Engine implements AsyncDisposable {
  readonly #context: EngineContext;
  readonly #sandboxes = new Map<string, Sandbox>();
  readonly #creating = new Map<Promise<unknown>, string>();
  readonly #hands = {
    holds: (id: string) => this.#sandboxes.has(id) || [...this.#creating.values()].includes(id) || this.#context.building.has(id),
    keep: (sb: SandboxContext) => this.#keep(sb),
  };
  readonly #owner: SandboxOwner = {
    fork: async (sb, id, signal) =>
      this.#keep(await this.#making(checkId("sandbox.id", id ?? newId("sb")), signal, (name, both) => forkSandbox(sb, name, both))),
    forget: ({ id }) => void this.#sandboxes.delete(id),
  };
  readonly #abort = new AbortController();
  readonly #unguard: () => void;
  #closing: Promise<void> | undefined;

  /** Use `createEngine`. */
  constructor(context: EngineContext) {
    this.#context = context;
    this.#unguard = guardExit(() => this.close());
  }

  /** Everything the engine keeps on the host lives below here. */
  get root(): string {
    return this.#context.root;
  }

  /** Who taps which hook, in the order the taps run. */
  get hooks(): readonly TapInfo[] {
    return this.#context.hooks.list();
  }

  /**
   * Boots a VM and connects to its agent; state `ready`. The boot has 60 s unless `boot.timeoutMs` says otherwise. A failure leaves nothing.
   * @throws INVALID_INPUT, ALREADY_EXISTS, HOST_MISSING, HOST_LIMIT, VM_FAILED, GUEST_BOOT_FAILED, HOOK_FAILED, ABORTED.
   */
  async createSandbox(options: SandboxOptions = {}, { signal }: { readonly signal?: AbortSignal } = {}): Promise<Sandbox> {
    return this.#keep(await this.#create(options, signal));
  }

  async #create(options: SandboxOptions, signal: AbortSignal | undefined): Promise<SandboxContext> {
    return this.#making(sandboxConfig(options).id, signal, (id, both) => createSandbox(this.#context, { ...options, id }, both));
  }

  /** Makes a sandbox that is this engine's from the start: closing it ends the work, and it is nobody's to collect meanwhile. */
  async #making<T>(id: string, signal: AbortSignal | undefined, make: (id: string, signal: AbortSignal) => Promise<T>): Promise<T> {
    this.#requireOpen("create a sandbox");
    const making = make(id, signal ? AbortSignal.any([signal, this.#abort.signal]) : this.#abort.signal);
    this.#creating.set(making, id);
    try {
      return await making;
    } finally {
      this.#creating.delete(making);
    }
  }

  /** Creates a sandbox and starts it; when the start fails it is removed again. */
  async runSandbox(options: SandboxOptions = {}, cancel: { readonly signal?: AbortSignal } = {}): Promise<Sandbox> {
    const sb = await this.#create(options, cancel.signal);
    const sandbox = this.#keep(sb);
    const remove = async () => {
      await sandbox.stop({ force: true });
      await sandbox.delete();
    };
    try {
      await sandbox.start(cancel);
      return sandbox;
    } catch (error) {
      throw await removedAfter(error, { remove, held: () => sb.journal.record.holdings, log: this.#context.log });
    }
  }

  /**
   * Makes a sandbox that goes on from one that `sandbox.snapshot` has saved, in this process or an earlier one: with its containers and their processes, and with
   * random numbers, a clock, names and disks of its own. On the host that it was saved on, or one that is the same to it.
   * @throws NOT_FOUND, SNAPSHOT_UNUSABLE naming the file that is not as it was saved or what is another one here, ALREADY_EXISTS, STATE_IO, VM_FAILED, ABORTED. A
   * failure leaves nothing, and the snapshot as it was.
   *
   * @example
   * await sandbox.snapshot("./warm");
   * await using later = await engine.restore("./warm");
   */
  async restore(path: string, { id, signal }: { readonly id?: string; readonly signal?: AbortSignal } = {}): Promise<Sandbox> {
    const name = checkId("sandbox.id", id ?? newId("sb"));
    return this.#keep(await this.#making(name, signal, (own, both) => restoreSnapshot(this.#context, path, own, both)));
  }

  /**
   * The sandbox of an id: one of this engine's, or one that another process made and let go, or left when it died.
   * @throws NOT_FOUND, LOCKED when a live process has it, STATE_CORRUPT.
   */
  async sandbox(id: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<Sandbox> {
    this.#requireOpen("attach to a sandbox");
    const known = this.#sandboxes.get(id);
    if (known) return known;
    return adoptSandbox(this.#context, checkId("sandbox.id", id), signal, this.#hands);
  }

  /** Every sandbox below the engine's root, whichever process made it. */
  list(): Promise<readonly SandboxSummary[]> {
    return listSandboxes(this.#context);
  }

  /** What the record of a sandbox says, whichever process has it: read without attaching. @throws NOT_FOUND, STATE_CORRUPT, INVALID_INPUT. */
  inspect(id: string): Promise<SandboxInspection> {
    return inspectSandbox(this.#context, checkId("sandbox.id", id));
  }

  /** Gives back what dead scripts have left and tries failed releases again; detached sandboxes that run are kept. */
  gc(): Promise<CollectReport> {
    return collect(this.#context, this.#hands);
  }

  /** The named volumes below the engine's root; with `measure` what each takes on the disk, which walks through it. */
  volumes({ measure = false, signal }: { readonly measure?: boolean; readonly signal?: AbortSignal } = {}): Promise<readonly Volume[]> {
    return listVolumes(this.root, { measure, signal });
  }

  /** Removes a named volume with all that is in it; not there is success. @throws VOLUME_IN_USE while a container of any sandbox has it, INVALID_INPUT. */
  async removeVolume(name: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await removeVolume(this.root, name, await sandboxesWith(this.#context, name), signal);
  }

  /** The templates of this engine: saved VMs from which sandboxes go on. */
  templates(): Promise<readonly Template[]> {
    return listTemplates(this.#context);
  }

  /**
   * Builds the template that sandboxes of this configuration go on from, so that already the first of them does; one that is there is success. Takes a boot
   * and some seconds, at most 15 min.
   * @throws UNSUPPORTED where there can be none, INVALID_INPUT, HOST_MISSING, GUEST_BOOT_FAILED, STATE_IO, ABORTED.
   */
  async buildTemplate(options: SandboxOptions = {}, { signal }: { readonly signal?: AbortSignal } = {}): Promise<Template> {
    const config = sandboxConfig(options);
    return this.#making(config.id, signal, (_, both) => {
      const call = { signal: AbortSignal.any([both, AbortSignal.timeout(BUILD_MS)]), log: this.#context.log };
      return makeTemplate(this.#context, config, call);
    });
  }

  /**
   * Removes templates, by the beginnings of their keys; all of them with none. Sandboxes that went on from them keep running. Resolves with the keys.
   * @throws NOT_FOUND, INVALID_INPUT when a beginning is that of several.
   */
  async removeTemplates(...beginnings: readonly string[]): Promise<readonly string[]> {
    const wanted = beginnings.length > 0 ? beginnings : (await this.templates()).map(({ key }) => key);
    return removeTemplates(this.#context, wanted);
  }

  /** What `doctor` shows: what the backends found on this host, and how to mend it. */
  async inspectHost(): Promise<readonly Finding[]> {
    const call = { signal: AbortSignal.timeout(DEADLINES.agent), log: this.#context.log };
    const [hypervisor, guest] = await Promise.all([this.#context.slot("hypervisor"), this.#context.slot("guest")]);
    return (await Promise.all([hypervisor.inspectHost(call), guest.inspectHost(call)])).flat();
  }

  /** Builds what VMs boot, if it is not there yet (10 min); `onProgress` gets a line for each long step. */
  async prepareGuest(onProgress?: (line: string) => void, { signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const timeout = AbortSignal.timeout(DEADLINES.prepareGuest);
    const guest = await this.#context.slot("guest");
    await guest.prepare({ signal: signal ? AbortSignal.any([signal, timeout]) : timeout, log: this.#context.log }, onProgress);
  }

  /** Removes every sandbox this engine created, detached ones excepted, and closes the plugins. @throws the first failure. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#abort.abort(new Error("the engine closes"));
    await Promise.allSettled(this.#creating.keys());
    const results = await Promise.allSettled([...this.#sandboxes.values()].map((sandbox) => sandbox[Symbol.asyncDispose]()));
    await this.#context.host.close();
    await this.#context.store.close();
    this.#unguard();
    const failed = results.find((result) => result.status === "rejected");
    if (failed) throw toError(failed.reason);
  }

  #keep(sb: SandboxContext): Sandbox {
    const sandbox = new Sandbox(sb, this.#owner);
    this.#sandboxes.set(sb.id, sandbox);
    return sandbox;
  }

  #requireOpen(verb: string): void {
    if (!this.#closing) return;
    throw new TapvisorError("INVALID_STATE", `Engine closed, impossible to ${verb}`, {
      data: { kind: "engine", id: "engine", state: "closed", verb, allowed: ["open"] },
    });
  }
}
