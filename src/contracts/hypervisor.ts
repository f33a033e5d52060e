import type { Bytes } from "../base/units.ts";
import type { Finding } from "./finding.ts";
import type { BootAssets } from "./guest.ts";
import type { Call, HoldingKind, Json } from "./holding.ts";

/**
 * A virtual machine monitor.
 *
 * What it holds for a sandbox are holdings (serialisable, releasable by a later process); `connect` gives the live view of a running VM.
 */
export interface Hypervisor {
  readonly capabilities: HypervisorCapabilities;
  /** Looks at the host without changing it: program, version, accelerator. For `doctor`. */
  inspectHost(call: Call): Promise<readonly Finding[]>;
  /**
   * Everything of this host that a saved VM depends on, the program and what it emulates: where two of them differ, a state saved under the one is never
   * used under the other. Present with the capability `templates` or `snapshots`.
   */
  fingerprint?(call: Call): Promise<Json>;
  /** The live view of a VM that `holdings.vm` acquired, in this process or an earlier one. @throws VM_FAILED when it no longer runs. */
  connect(grant: VmGrant, call: Call): Promise<Vm>;
  readonly holdings: {
    readonly vm: HoldingKind<VmIntent, VmGrant>;
    readonly share?: HoldingKind<ShareIntent, ShareGrant>;
    readonly disk?: HoldingKind<DiskIntent, DiskGrant>;
  };
  /** Says what a change would be in the hypervisor's own words, touching nothing: pure functions. Without it a plan names no commands. */
  readonly planner?: HypervisorPlanner;
}

/** What the backend can do; asked once by the engine, which refuses the rest with UNSUPPORTED. A backend never pretends. */
export interface HypervisorCapabilities {
  readonly pause: boolean;
  /** Host directories can be shared with a running VM. */
  readonly shareHotplug: boolean;
  /** The drivers by which disks can be plugged into a running VM, the preferred one first; absent: none can. `holdings.disk` is there then. */
  readonly diskDrivers?: readonly DiskDriver[];
  /** vCPUs and memory of a running VM can grow and shrink: its live view has `sizing` then. `false` when absent. */
  readonly resize?: boolean;
  /**
   * A VM can be saved as a template and others go on from there (`VmIntent.memory`): its live view has `save` then, and the hypervisor `fingerprint`.
   * `false` when absent.
   */
  readonly templates?: boolean;
  /** A running VM can be saved whole, and another go on from there: its live view has `snapshot` then. `false` when absent. */
  readonly snapshots?: boolean;
}

/** Everything needed to start one VM. Paths are absolute, sizes in bytes. */
export interface VmIntent {
  readonly sandbox: string;
  /** Unguessable; stands in the VM process's command line, so that it is found for certain after a crash. */
  readonly nonce: string;
  /** A private directory (mode 0700) for sockets and logs; it exists before and is removed after the VM. */
  readonly runDirectory: string;
  readonly vcpus: number;
  readonly memoryBytes: Bytes;
  /** How far vCPUs and memory may grow while the VM runs, what it boots with included; absent: they stay as they are. */
  readonly limits?: VmSize;
  readonly boot: BootAssets;
  /** Where the guest's memory lies; absent: in memory of its own, which goes with the VM. */
  readonly memory?: VmMemory;
  /** What the VM has from its start on, beyond what it boots with: what had been plugged into the one whose snapshot it goes on from. */
  readonly plugged?: VmPlugged;
  /** Without it the VM dies with the process that started it, even at `kill -9`. */
  readonly detached: boolean;
}

/** Where the guest's memory lies when a template is made or used. All else of the two intents must be equal: the guest finds the machine it knows. */
export type VmMemory =
  /** In this file, which is there, private and `memoryBytes` long: `Vm.save` makes a template of it. On a tmpfs it costs what the guest has written. */
  | { readonly kind: "template"; readonly file: string }
  /**
   * Copy-on-write in a template's file, from the state that was saved with it: the guest goes on where it was. Neither file is written to. Others share
   * its pages until they write to them, and no directory of the host can be shared with it: for that the memory has to be its own.
   */
  | { readonly kind: "clone"; readonly file: string; readonly state: string }
  /**
   * The same, in memory of its own that begins as a copy of the template's: no page is shared, and directories can be. `copy` is where the copy is made, a
   * path that is not there, best on a tmpfs; the file goes as soon as the VM has it.
   */
  | { readonly kind: "copy"; readonly file: string; readonly state: string; readonly copy: string }
  /** In memory of its own, filled like everything else from what `Vm.snapshot` wrote. All else of the two intents must be equal but for `plugged`. */
  | { readonly kind: "snapshot"; readonly state: string };

/** What has been plugged into a VM. */
export interface VmPlugged {
  /** Totals, what it boots with included; a vCPU that the guest has parked counts. */
  readonly size: VmSize;
  /** Where they were plugged in: the guest finds each where it was. */
  readonly disks: readonly Omit<DiskIntent, "vm">[];
}

/** A running VM, as the state store keeps it. */
export interface VmGrant {
  readonly sandbox: string;
  readonly nonce: string;
  readonly runDirectory: string;
  readonly process: { readonly pid: number; readonly startTime: string; readonly bootId: string } | null;
  /** Which accelerator really runs it, `kvm` or `tcg` say. */
  readonly accelerator: string;
  /** Where the host reaches the guest's agent. */
  readonly agentEndpoint: AgentEndpoint;
  /** What the backend itself wants back when a later process connects or releases. The engine keeps it and does not look at it. */
  readonly details?: Json;
}

/** An amount of vCPUs and memory. */
export interface VmSize {
  readonly vcpus: number;
  readonly memoryBytes: Bytes;
}

/** Where the guest's agent is reached. Transports say which kinds they take. */
export type AgentEndpoint =
  /** A unix socket whose bytes are those of a virtio-serial port in the guest. */
  | { readonly kind: "serial"; readonly path: string }
  /** A unix socket that takes `CONNECT <port>` first (Firecracker, Cloud Hypervisor). */
  | { readonly kind: "hybrid-vsock"; readonly path: string; readonly port: number }
  /** A unix socket that the agent listens on itself. */
  | { readonly kind: "unix"; readonly path: string }
  /** A VM of an in-memory world: nothing to connect to. */
  | { readonly kind: "memory"; readonly sandbox: string };

/** Host directories and files made visible to the guest as one file system, plugged in while the VM runs. */
export interface ShareIntent {
  readonly sandbox: string;
  readonly vm: VmGrant;
  /** Also the mount tag in the guest; unique in the VM, at most 31 characters. */
  readonly id: string;
  /** A private directory for the server's socket and staging; inside the VM's run directory. */
  readonly directory: string;
  /** Entry `name` of the share's root is the host's `source`. Read-only ones are enforced on the host side. */
  readonly entries: readonly ShareEntry[];
}

export interface ShareEntry {
  readonly name: string;
  readonly source: string;
  readonly type: "directory" | "file";
  readonly readonly: boolean;
}

export interface ShareGrant {
  readonly id: string;
  /** The file system type and source for `mount -t <type> <source>` in the guest. */
  readonly guest: { readonly fstype: string; readonly source: string; readonly driver: string };
  readonly process: { readonly pid: number; readonly startTime: string; readonly bootId: string } | null;
}

/** How a disk is presented to the guest: many on one SCSI controller, or a PCI device each. */
export type DiskDriver = "virtio-scsi" | "virtio-blk";

/** A block device or disk image of the host, plugged in while the VM runs. */
export interface DiskIntent {
  readonly sandbox: string;
  readonly vm: VmGrant;
  /** Unique in the VM, at most 31 characters. */
  readonly id: string;
  /** Absolute path of an image file or of a block device. */
  readonly path: string;
  readonly format: "raw" | "qcow2";
  /** Enforced on the host side. */
  readonly readonly: boolean;
  readonly driver: DiskDriver;
  /** The lowest drive index that no other disk of the VM has: SCSI id `index / 256`, LUN `index % 256`. */
  readonly index: number;
}

export interface DiskGrant {
  readonly id: string;
  readonly guest: GuestDisk;
}

/** Where the guest finds a disk, in Kata's words: `scsi` with `id:lun`, `blk` with the PCI path `bridge/slot` (two hexadecimal digits each). */
export interface GuestDisk {
  readonly driver: "scsi" | "blk";
  readonly address: string;
}

/** What a change of a running VM would be, one command a line. */
export interface HypervisorPlanner {
  share(intent: ShareIntent): readonly PlannedCommand[];
  disk(intent: DiskIntent): readonly PlannedCommand[];
  /** From one size to another, which may be smaller. */
  resize(from: VmSize, to: VmSize, limits: VmSize): readonly PlannedCommand[];
}

/** A command of the hypervisor's control protocol, QMP say. */
export interface PlannedCommand {
  readonly command: string;
  readonly arguments: { readonly [key: string]: Json | undefined };
}

/** Grows and shrinks a running VM. A target is a total, never a difference, so that asking again is harmless. */
export interface VmSizing {
  /** What the VM has now, as the hypervisor sees it; a vCPU that the guest has parked counts. */
  size(call: Call): Promise<VmSize>;
  /**
   * Brings the number of vCPUs to `target`, lowest index first, never below what the VM booted with or above its limit. A backend that cannot
   * take a vCPU away safely leaves it plugged, and the guest parks it.
   */
  resizeVcpus(target: number, call: Call): Promise<Resized>;
  /**
   * Brings the memory to `target` bytes, never below what the VM booted with. Growth is all or nothing as far as the guest lets it. A shrink ends
   * when the guest has given all back, refuses, or `call.signal` fires: what it has not given back by then it may give back later.
   */
  resizeMemory(target: Bytes, call: Call): Promise<Resized>;
}

/** How far a resize came. */
export interface Resized {
  /** The total the VM has now: vCPUs, or bytes. */
  readonly reached: number;
  /** Why it is not the target, the hypervisor's or the guest's own reason; absent when it is, or when a backend keeps what cannot be taken away safely. */
  readonly shortfall?: string;
}

/** The live view of one VM. */
export interface Vm {
  pause(call: Call): Promise<void>;
  resume(call: Call): Promise<void>;
  /** Whether the VM runs, is paused or has ended, as the hypervisor sees it now. */
  status(call: Call): Promise<"running" | "paused" | "ended">;
  /** Settles when the VM's process has ended: never rejects. */
  readonly exited: Promise<VmExit>;
  /** The last lines of the guest's console and of the VM process's own messages, control characters escaped. */
  diagnostics(): Promise<{ readonly console: string; readonly stderr: string }>;
  /** Present when the backend has the capability `resize`. */
  readonly sizing?: VmSizing;
  /**
   * Has each vCPU run on a CPU of the host of its own, in order, when `cpus` has as many as there are vCPUs; otherwise all of them on all of `cpus`.
   * Absent where the backend cannot. @throws VM_FAILED when the host refuses.
   */
  pinVcpus?(cpus: readonly number[], call: Call): Promise<unknown>;
  /**
   * Stops a VM whose memory is a template's and writes the state of its devices to a new file, mode 0600: with the memory's file a template, as soon
   * as the VM has been released. Present when the backend has the capability `templates`. Waits at most 30 s.
   * @throws INVALID_STATE for a VM that was not started as a template, VM_COMMAND_FAILED, VM_FAILED, STATE_IO; the file is not there then, and the VM runs.
   */
  save?(state: string, call: Call): Promise<void>;
  /**
   * Stops the VM and writes all of it, its memory too, to a new file, mode 0600; the VM stays stopped until `resume`. What a disk holds is not in it.
   * Present when the backend has the capability `snapshots`. Waits as long as `call.signal` lets it.
   * @throws UNSUPPORTED for a VM with what cannot be carried (a share, a device of the host), before anything has happened; VM_COMMAND_FAILED, VM_FAILED,
   * STATE_IO; the file is not there then, and the VM runs on if it ran.
   */
  snapshot?(state: string, call: Call): Promise<void>;
  /** Lets go of the control connection; the VM goes on. */
  disconnect(): Promise<void>;
}

export interface VmExit {
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** True when the VM ended because it was asked to. */
  readonly expected: boolean;
}
