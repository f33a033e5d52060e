import { isAlive, isTapvisorError, Mutex, type ProcessIdentity, TapvisorError, type VmExit } from "tapvisor/plugin";
import type { VmPaths } from "./paths.ts";
import { endsWithin, type Spawned } from "./process.ts";
import { Qmp, type QmpOptions } from "./qmp.ts";

/** Between two looks at an adopted QEMU whose control socket is closed, ms: it is ending, or comes back. */
const RECONNECT_MS = 20;
/** How long QEMU may take to give its memory back between closing its sockets and its end, ms. */
const ENDING_MS = 2_000;

/**
 * One VM as this process knows it: its QEMU process and the one control connection, shared by all who need it since QEMU serves one at
 * a time.
 */
export class Machine {
  readonly nonce: string;
  readonly identity: ProcessIdentity;
  readonly paths: VmPaths;
  /** Settles when QEMU has ended; never after `detach`, for a VM of another process. */
  readonly exited: Promise<VmExit>;
  /** Whether QEMU ends with this process: what serves it may then, too. */
  readonly diesWithThisProcess: boolean;
  /** One change of size at a time: what there is and what is to be added or taken away are two commands. */
  readonly resizing = new Mutex();
  readonly #spawned: Spawned | undefined;
  #qmp: Promise<Qmp> | undefined;
  #stopping = false;
  #detached = false;

  constructor(nonce: string, identity: ProcessIdentity, paths: VmPaths, own?: { readonly spawned: Spawned; readonly detached: boolean }) {
    this.nonce = nonce;
    this.identity = identity;
    this.paths = paths;
    this.#spawned = own?.spawned;
    this.diesWithThisProcess = own !== undefined && !own.detached;
    const end = own ? own.spawned.exited : this.#watch();
    this.exited = end.then((exit) => ({ ...exit, expected: this.#stopping }));
  }

  /** Whether QEMU is a child of this process, which then hears of its end without a connection. */
  get isOwn(): boolean {
    return this.#spawned !== undefined;
  }

  /** The connection, made now when there is none. The error is the socket's own. */
  connect(): Promise<Qmp> {
    this.#qmp ??= Qmp.connect(this.paths.qmp).then(
      (qmp) => {
        void qmp.closed.then(() => {
          this.#qmp = undefined;
        });
        return qmp;
      },
      (error: unknown) => {
        this.#qmp = undefined;
        throw error;
      },
    );
    return this.#qmp;
  }

  /**
   * Runs a QEMU command, reconnecting first where needed.
   *
   * @throws VM_COMMAND_FAILED (`data.class` is `Disconnected` when QEMU cannot be reached), TIMEOUT, ABORTED.
   */
  async execute(command: string, args: Readonly<Record<string, unknown>> = {}, options: QmpOptions = {}): Promise<unknown> {
    const qmp = await this.connect().catch((cause: unknown) => {
      throw new TapvisorError("VM_COMMAND_FAILED", `Cannot run QEMU's command "${command}": its control socket does not answer`, {
        data: { command, class: "Disconnected" },
        cause,
      });
    });
    return qmp.execute(command, args, options);
  }

  /** Whether QEMU has ended, or is about to: its sockets close a little before its process is gone. `error` is what a command failed with. */
  async endedAfter(error: unknown): Promise<boolean> {
    const disconnected = isTapvisorError(error) && error.code === "VM_COMMAND_FAILED" && error.data.class === "Disconnected";
    return endsWithin(this.identity, disconnected ? ENDING_MS : 0);
  }

  /** From now on the end of QEMU is what was asked for. */
  expectEnd(): void {
    this.#stopping = true;
  }

  /** Lets go of the control connection and of this process's event loop; QEMU goes on. */
  async detach(): Promise<void> {
    this.#detached = true;
    this.#spawned?.child.unref();
    const qmp = await this.#qmp?.catch(() => undefined);
    await qmp?.close();
  }

  /** A QEMU that is not our child tells of its end by closing the control socket, even one on which it has not answered yet. */
  async #watch(): Promise<{ exitCode: null; signal: null }> {
    while (await isAlive(this.identity)) {
      const qmp = await this.connect().catch(() => undefined);
      await qmp?.closed;
      await endsWithin(this.identity, RECONNECT_MS);
      if (this.#detached) return new Promise(() => {});
    }
    return { exitCode: null, signal: null };
  }
}
