import type { Bytes } from "../base/units.ts";
import type { Finding } from "./finding.ts";
import type { BootAssets } from "./guest.ts";
import type { Call, HoldingKind } from "./holding.ts";

/**
 * A virtual machine monitor.
 *
 * What it holds for a sandbox are holdings (serialisable, releasable by a later process); `connect` gives the live view of a running VM.
 */
export interface Hypervisor {
  readonly capabilities: HypervisorCapabilities;
  /** Looks at the host without changing it: program, version, accelerator. For `doctor`. */
  inspectHost(call: Call): Promise<readonly Finding[]>;
  /** The live view of a VM that `holdings.vm` acquired, in this process or an earlier one. @throws VM_FAILED when it no longer runs. */
  connect(grant: VmGrant, call: Call): Promise<Vm>;
  readonly holdings: {
    readonly vm: HoldingKind<VmIntent, VmGrant>;
    readonly share?: HoldingKind<ShareIntent, ShareGrant>;
  };
}

/** What the backend can do; asked once by the engine, which refuses the rest with UNSUPPORTED. A backend never pretends. */
export interface HypervisorCapabilities {
  readonly pause: boolean;
  /** Host directories can be shared with a running VM. */
  readonly shareHotplug: boolean;
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
  readonly boot: BootAssets;
  /** Without it the VM dies with the process that started it, even at `kill -9`. */
  readonly detached: boolean;
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
  /** Lets go of the control connection; the VM goes on. */
  disconnect(): Promise<void>;
}

export interface VmExit {
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** True when the VM ended because it was asked to. */
  readonly expected: boolean;
}
