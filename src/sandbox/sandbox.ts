import { isTapvisorError, TapvisorError } from "../base/errors.ts";
import type { BundleOptions, ContainerOptions } from "../config/container-config.ts";
import type { DeviceOptions } from "../config/device-config.ts";
import { type Cancellable, Container } from "../container/container.ts";
import { createContainer } from "../container/create.ts";
import { containerRecord } from "../container/state.ts";
import { addDevice, type Device, listDevices, removeDevice } from "../device/sandbox-devices.ts";
import type { SandboxContext } from "../engine/context.ts";
import type { Origin } from "../engine/record.ts";
import { removedAfter } from "../engine/removed-after.ts";
import type { State } from "../engine/states.ts";
import { announce } from "../plan/announce.ts";
import { type Plan, type PlannedChange, planChange } from "../plan/plan.ts";
import type { SandboxResources } from "../resource/ledger.ts";
import { saveSnapshot } from "../snapshot/save.ts";
import { deleteSandbox } from "./delete.ts";
import { letGo } from "./let-go.ts";
import { pauseSandbox, resumeSandbox } from "./pause.ts";
import { reconcile } from "./reconcile.ts";
import { readResources } from "./resources.ts";
import { startSandbox } from "./start.ts";
import { isOf, type StopOptions, stopSandbox } from "./stop.ts";
import { findVm } from "./vm-grant.ts";

export interface SandboxStatus {
  readonly id: string;
  readonly state: State;
  readonly created: string;
  readonly vcpus: number;
  readonly memoryBytes: number;
  /** What really runs the VM, `kvm` or `tcg` say; absent when it has none. */
  readonly accelerator?: string;
  readonly pid?: number;
  /** How its VM came to be: from a template, or by a boot, and why. Absent until it has been started. */
  readonly origin?: Origin;
  readonly containers: readonly { readonly id: string; readonly state: State }[];
  /** What could not be released, when the state is `failed`. */
  readonly left: readonly { readonly step: string; readonly owner: string; readonly reason: string }[];
  readonly annotations: Readonly<Record<string, string>>;
}

/** Who keeps sandboxes: their engine. */
export interface SandboxOwner {
  fork(sb: SandboxContext, id: string | undefined, signal: AbortSignal | undefined): Promise<Sandbox>;
  /** A sandbox is no more, or no longer this process's. */
  forget(sb: SandboxContext): void;
}

/**
 * A virtual machine that runs containers.
 *
 * @example
 * await using sandbox = await engine.runSandbox({ memory: "512MiB" });
 * const { exitCode } = await (await sandbox.run({ rootfs: "./rootfs", command: ["true"] })).wait();
 */
export class Sandbox implements AsyncDisposable {
  readonly id: string;
  readonly #sb: SandboxContext;
  readonly #owner: SandboxOwner;

  constructor(sb: SandboxContext, owner: SandboxOwner) {
    this.#sb = sb;
    this.id = sb.id;
    this.#owner = owner;
  }

  /** `ready`, `running`, `paused`, `stopped` or `failed`. */
  get state(): State {
    return this.#sb.journal.record.state;
  }

  /** Makes it run, so that containers can be started; a stopped one boots anew (60 s). Running already is success. */
  start(options: Cancellable = {}): Promise<void> {
    return startSandbox(this.#sb, options.signal);
  }

  /**
   * A running copy of it, with its containers and their processes, that goes on by itself from this moment: with random numbers, a clock and names of its own, and
   * with copies of the disks that it writes to. Its containers need disks, not directories of the host. A copy of the memory is written and read: seconds.
   * The disks' copies last until the copy is deleted. Hooks `beforeCreate` and `afterCreate` are told of it.
   * @throws UNSUPPORTED for what cannot be carried over (a shared directory, a device of the host, OCI hooks), before anything is touched; INVALID_STATE,
   * ALREADY_EXISTS, STATE_IO, VM_FAILED, ABORTED. A failure leaves nothing, and this sandbox goes on.
   *
   * @example
   * await using copy = await sandbox.fork({ id: "copy" });
   * for await (const line of copy.container("counter").stdout.lines()) console.log(line);
   */
  async fork({ id, signal }: Cancellable & { readonly id?: string } = {}): Promise<Sandbox> {
    return this.#owner.fork(this.#sb, id, signal);
  }

  /**
   * Saves it as it is, running, to a new directory, and goes on: `engine.restore(path)` makes sandboxes that go on from it, in later processes too. Takes the
   * memory that the guest uses, and copies of the disks that it writes to. Whoever reads the directory reads the guest's memory.
   * @throws UNSUPPORTED as `fork`, INVALID_STATE, STATE_IO when the directory is there or cannot be made, VM_FAILED, ABORTED. A failure leaves no directory.
   */
  snapshot(path: string, { signal }: Cancellable = {}): Promise<void> {
    return saveSnapshot(this.#sb, path, signal);
  }

  /** Stops containers, guest and VM and gives everything back. Stopped already is success. @throws RELEASE_INCOMPLETE. */
  stop(options: StopOptions = {}): Promise<void> {
    return stopSandbox(this.#sb, options);
  }

  /** Freezes the VM with all in it. @throws INVALID_STATE, UNSUPPORTED. */
  pause(options: Cancellable = {}): Promise<void> {
    return pauseSandbox(this.#sb, options.signal);
  }

  resume(options: Cancellable = {}): Promise<void> {
    return resumeSandbox(this.#sb, options.signal);
  }

  /** Removes a sandbox that does not run. Deleted already is success. @throws INVALID_STATE, RELEASE_INCOMPLETE. */
  async delete(options: Cancellable = {}): Promise<void> {
    try {
      await deleteSandbox(this.#sb, options.signal);
    } finally {
      if (!this.#sb.journal.stored) this.#owner.forget(this.#sb); // also when only what came after the removal has failed
    }
  }

  /** Creates a container, at most 30 s for each step; state `ready`. A failure leaves nothing. @throws ALREADY_EXISTS, INVALID_INPUT, UNSUPPORTED. */
  async createContainer(options: ContainerOptions | BundleOptions, { signal }: Cancellable = {}): Promise<Container> {
    await announce(this.#sb, { create: options });
    return new Container(this.#sb, await createContainer(this.#sb, options, signal));
  }

  /** Creates a container and starts it; when the start fails the container is removed again. */
  async run(options: ContainerOptions | BundleOptions, { signal }: Cancellable = {}): Promise<Container> {
    const container = await this.createContainer(options, signal ? { signal } : {});
    try {
      await container.start(signal ? { signal } : {});
      return container;
    } catch (error) {
      const held = () => this.#sb.journal.record.holdings.filter(isOf(container.id));
      throw await removedAfter(error, { remove: () => container.delete(), held, log: this.#sb.log });
    }
  }

  /** The container of an id. @throws NOT_FOUND. */
  container(id: string): Container {
    return new Container(this.#sb, containerRecord(this.#sb, id).id);
  }

  containers(): Container[] {
    return Object.keys(this.#sb.journal.record.containers).map((id) => new Container(this.#sb, id));
  }

  /**
   * What the VM has and why: what it booted with, what each container asks for, the total, what the hypervisor has given and what the guest says. Asks
   * both; at most 30 s.
   */
  resources(options: Cancellable = {}): Promise<SandboxResources> {
    return readResources(this.#sb, options.signal);
  }

  /**
   * Plugs a disk image or block device of the host into the running VM, at most 20 s. One that is plugged in already is referred to once more: it goes
   * with the last `removeDevice`. A failure leaves nothing.
   * @throws INVALID_INPUT, UNSUPPORTED, INVALID_STATE, VM_COMMAND_FAILED.
   *
   * @example
   * const disk = await sandbox.addDevice({ path: "./scratch.img" });
   * console.log(disk.node); // /dev/sda
   */
  async addDevice(options: DeviceOptions, { signal }: Cancellable = {}): Promise<Device> {
    await announce(this.#sb, { addDevice: options });
    return addDevice(this.#sb, options, signal);
  }

  /** Takes a disk out again. @throws DEVICE_NOT_FOUND, DEVICE_ATTACHED while a container has it, DEVICE_IN_USE while the guest uses it: nothing is lost. */
  removeDevice(id: string, { signal }: Cancellable = {}): Promise<void> {
    return removeDevice(this.#sb, id, signal);
  }

  /**
   * Says what a change would plug in or out, by which commands, and what the ledger would be after it; touches nothing and asks no hook.
   * @throws as the change itself for what it refuses.
   *
   * @example
   * const { commands, after } = await sandbox.plan({ create: { rootfs: "./rootfs", command: ["true"], resources: { vcpus: 2 } } });
   */
  plan(change: PlannedChange): Promise<Plan> {
    return planChange(this.#sb, change);
  }

  /** Every disk that is plugged into the VM, those of its containers too. */
  devices(): readonly Device[] {
    return listDevices(this.#sb);
  }

  /** What it is now: a VM that has died meanwhile is noticed, and what it held given back. */
  async status(): Promise<SandboxStatus> {
    await reconcile(this.#sb).catch((error) => {
      if (!isTapvisorError(error) || error.code !== "RELEASE_INCOMPLETE") throw error; // `left` names it
    });
    const { record } = this.#sb.journal;
    const { id, state, created, config, origin, containers, holdings, annotations } = record;
    const vm = findVm(record)?.grant;
    return {
      id,
      state,
      created,
      vcpus: config.vcpus,
      memoryBytes: config.memoryBytes,
      ...(vm ? { accelerator: vm.accelerator } : {}),
      ...(vm?.process ? { pid: vm.process.pid } : {}),
      ...(vm && origin ? { origin } : {}),
      containers: Object.values(containers).map((container) => ({ id: container.id, state: container.state })),
      left: holdings.filter(({ status }) => status === "failed").map(({ step, owner, reason }) => ({ step, owner, reason: reason ?? "" })),
      annotations: { ...annotations },
    };
  }

  /** Free text kept with the sandbox. */
  get annotations(): Readonly<Record<string, string>> {
    return { ...this.#sb.journal.record.annotations };
  }

  /** Adds annotations and changes those there are. @throws INVALID_INPUT when a value is not text. */
  async annotate(annotations: Readonly<Record<string, string>>): Promise<void> {
    for (const [name, value] of Object.entries(annotations)) {
      if (typeof value !== "string") {
        throw new TapvisorError("INVALID_INPUT", `Cannot annotate "${name}" with ${JSON.stringify(value)}: wanted text`, {
          data: { path: `annotations.${name}`, value, wanted: "text" },
        });
      }
    }
    Object.assign(this.#sb.journal.record.annotations, annotations);
    await this.#sb.journal.save();
  }

  /** Kills the VM and deletes the sandbox, whatever state it is in. A detached one is only let go. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#sb.journal.stored) return;
    if (this.#sb.journal.record.config.detached) {
      await letGo(this.#sb);
      this.#owner.forget(this.#sb);
      return;
    }
    await this.stop({ force: true });
    await this.delete();
  }
}
