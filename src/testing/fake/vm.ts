import { TapvisorError } from "../../base/errors.ts";
import type { DiskIntent, GuestDisk, ShareIntent, VmExit, VmIntent } from "../../contracts/hypervisor.ts";
import { throwIfSignalled, unlessAborted } from "./aborting.ts";
import { type FakeDisk, pluggedDisk } from "./disks.ts";
import { FakeGuest } from "./guest.ts";
import type { FakePrograms } from "./programs.ts";
import { restoreGuest, type SavedVm } from "./saved.ts";
import { FakeSize } from "./size.ts";

/** One VM of the fake world. It stays, as `ended`, until it is released, as a process stays until it is reaped. */
export class FakeVm {
  readonly intent: VmIntent;
  readonly guest: FakeGuest;
  readonly shares = new Map<string, ShareIntent>();
  readonly disks = new Map<string, FakeDisk>();
  readonly size: FakeSize;
  readonly exited: Promise<VmExit>;
  /** What `diagnostics` shows: a test may write a kernel panic here. */
  console = "";
  stderr = "";
  state: "running" | "paused" | "ended" = "running";
  /** Live views of the VM that have not been disconnected. */
  readonly views = new Set<object>();
  /** Connections to its agent that have not been closed. */
  readonly agentConnections = new Set<{ lose(error: Error): void }>();
  #settle: (exit: VmExit) => void = () => {};
  #resumed: Promise<void> = Promise.resolve();
  #resume: () => void = () => {};

  /** One that boots, or, with `saved`, goes on from there. */
  constructor(intent: VmIntent, programs: FakePrograms, saved?: SavedVm) {
    this.intent = intent;
    this.size = new FakeSize(intent);
    this.guest = new FakeGuest(this, programs);
    for (const { intent: disk, guest, bytes } of saved?.disks ?? []) {
      const plugged = intent.plugged?.disks.find(({ id }) => id === disk.id);
      if (plugged) this.disks.set(disk.id, { intent: { ...disk, ...plugged }, guest, bytes });
    }
    if (saved) restoreGuest(this.guest, saved.guest, programs);
    this.exited = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  pause(): void {
    this.mustLive();
    if (this.state === "paused") return;
    this.state = "paused";
    this.#resumed = new Promise((resolve) => {
      this.#resume = resolve;
    });
  }

  resume(): void {
    this.mustLive();
    this.state = "running";
    this.#resume();
  }

  /** Does `work` when the guest runs: at once unless it is paused. @throws ABORTED, or the signal's own error. */
  async whenRunning<T>(signal: AbortSignal, work: () => T | Promise<T>): Promise<T> {
    const what = "a call to a paused guest";
    while (this.state === "paused") await unlessAborted(signal, what, this.#resumed);
    throwIfSignalled(signal, what); // with no wait between this and the work: the VM may end in any
    return work();
  }

  /** @throws VM_FAILED, VM_COMMAND_FAILED when there is a share of this id. */
  plugShare(intent: ShareIntent): void {
    this.mustLive();
    if (this.shares.has(intent.id)) {
      throw new TapvisorError("VM_COMMAND_FAILED", `Cannot plug share "${intent.id}": there is one of this id`, {
        data: { command: "device_add", class: "GenericError" },
      });
    }
    this.shares.set(intent.id, intent);
  }

  /** @throws VM_FAILED, VM_COMMAND_FAILED for a taken id or index, VM_LIMIT. */
  plugDisk(intent: DiskIntent, bytes: number): GuestDisk {
    this.mustLive();
    const disk = pluggedDisk(this.disks, intent, bytes);
    this.disks.set(intent.id, disk);
    return disk.guest;
  }

  /** Ends the VM and with it its guest, its shares, its disks and every connection to its agent. */
  end(exit: VmExit): void {
    if (this.state === "ended") return;
    this.state = "ended";
    this.loseAgent("its VM has ended"); // first: nobody hears how the processes in it ended
    this.guest.destroySandbox();
    this.shares.clear();
    this.disks.clear();
    this.#resume();
    this.#settle(exit);
  }

  /** Cuts every connection to the agent; the guest goes on and can be connected to again. */
  loseAgent(reason: string): void {
    const id = this.intent.sandbox;
    const error = new TapvisorError("AGENT_LOST", `Lost the agent of sandbox "${id}": ${reason}`, { data: { id } });
    for (const connection of this.agentConnections) connection.lose(error);
    this.agentConnections.clear();
  }

  /** @throws VM_FAILED when it has ended. */
  mustLive(): void {
    if (this.state !== "ended") return;
    const id = this.intent.sandbox;
    throw new TapvisorError("VM_FAILED", `Cannot use the VM of sandbox "${id}": it has ended`, { data: { id } });
  }
}
