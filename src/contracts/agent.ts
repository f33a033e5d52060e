import type { AgentFiles } from "./agent-files.ts";
import type { AgentIdentity } from "./agent-identity.ts";
import type { AgentNetwork } from "./agent-network.ts";
import type { AgentStreams } from "./agent-streams.ts";
import type { AgentSystem, GuestSandboxOptions } from "./agent-system.ts";
import type { Call } from "./holding.ts";
import type { AgentEndpoint, GuestDisk } from "./hypervisor.ts";
import type { OciProcess, OciResources, OciSpec } from "./oci.ts";
import type { ContainerStats } from "./stats.ts";
import type { Transport } from "./transport.ts";

/** Speaks to the agent inside the guest. */
export interface Agent {
  /** Whether `connect` needs a transport. */
  readonly needsTransport: boolean;
  /** Connects and resolves when the agent has answered. */
  connect(target: AgentTarget, call: Call): Promise<AgentClient>;
}

export interface AgentTarget {
  readonly sandbox: string;
  readonly endpoint: AgentEndpoint;
  readonly transport?: Transport | undefined;
  /** A private directory of the sandbox for sockets of the agent's own. */
  readonly runDirectory: string;
  /**
   * The guest goes on from a saved one whose agent had `identity`, so it is known what it can do: `connect` resolves without asking it, and its first call is
   * `identity.renew`. `false` when absent.
   */
  readonly goesOn?: boolean;
}

/**
 * The guest's verbs, those of the Kata agent 1.x protocol. Every call fails at once with AGENT_LOST when the connection is gone, with
 * AGENT_FAILED (and the gRPC status) when the agent refuses. Exit codes are as a shell reports them: 128 + n for signal n.
 */
export interface AgentClient extends AgentNetwork, AgentSystem, AgentStreams {
  createSandbox(
    request: { readonly hostname: string; readonly sandbox: string; readonly storages: readonly GuestStorage[] } & GuestSandboxOptions,
    call: Call,
  ): Promise<void>;
  destroySandbox(call: Call): Promise<void>;
  guestDetails(call: Call): Promise<GuestDetails>;
  /** @throws COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE when the agent already knows. */
  createContainer(request: GuestContainer, call: Call): Promise<void>;
  /** @throws COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE. */
  startContainer(container: string, call: Call): Promise<void>;
  /** Kills what still runs, removes the container and its mounts. An unknown container is success. */
  removeContainer(container: string, call: Call): Promise<void>;
  /** Resolves with the exit code when the process has ended; no deadline of its own. */
  waitProcess(process: GuestProcessId, call: Call): Promise<number>;
  /** An empty `exec` of `process` with `all` signals every process of the container. */
  signalProcess(process: GuestProcessId, signal: number, all: boolean, call: Call): Promise<void>;
  /** The next bytes, waiting for some; empty at the end of the stream. */
  readStdout(process: GuestProcessId, maxBytes: number, call: Call): Promise<Uint8Array>;
  readStderr(process: GuestProcessId, maxBytes: number, call: Call): Promise<Uint8Array>;
  /** How many of the bytes the process's pipe took: at least one; waits while it is full. */
  writeStdin(process: GuestProcessId, data: Uint8Array, call: Call): Promise<number>;
  /** Success without an effect for a process with a terminal: its input ends when the process reads the terminal's end-of-file character (Ctrl-D, 4). */
  closeStdin(process: GuestProcessId, call: Call): Promise<void>;
  /**
   * Starts one more process in a running container. With a terminal its standard error is empty: both streams come out of its standard output.
   * @throws COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE; AGENT_FAILED ALREADY_EXISTS, FAILED_PRECONDITION when the container does not run.
   */
  execProcess(process: GuestProcessId, spec: OciProcess, call: Call): Promise<void>;
  /** Sets the size of a process's terminal, 1 to 65535 each; what runs in its foreground gets SIGWINCH. @throws AGENT_FAILED FAILED_PRECONDITION when it has none. */
  resizeTty(process: GuestProcessId, size: { readonly rows: number; readonly columns: number }, call: Call): Promise<void>;
  /** The processes that run in a container now, at most 4096; none after its end. One that has ended and is not collected is not among them. */
  listProcesses(container: string, call: Call): Promise<readonly GuestProcessInfo[]>;
  /** Freezes all processes of a running container. @throws AGENT_FAILED FAILED_PRECONDITION when it does not run. */
  pauseContainer(container: string, call: Call): Promise<void>;
  resumeContainer(container: string, call: Call): Promise<void>;
  /** Sets the given limits of a container, started or not: each part (`memory`, `cpu`, …) that is present is set, what is absent stays. All or nothing. */
  updateContainer(container: string, resources: OciResources, call: Call): Promise<void>;
  /** What a container has used so far; also before its start and after its end. */
  statsContainer(container: string, call: Call): Promise<ContainerStats>;
  /** Brings plugged vCPUs online, at most `vcpus` of them, and memory too unless `cpuOnly`; resolves when it is done. */
  onlineCpuMem(request: { readonly vcpus: number; readonly cpuOnly: boolean }, call: Call): Promise<void>;
  /**
   * Runs on exactly `vcpus` vCPUs, parking the others, and says what the guest has then; without a number it changes nothing.
   * `undefined` when this guest has no such call, as a Kata guest: `onlineCpuMem` is what is left.
   */
  syncResources(request: { readonly vcpus?: number }, call: Call): Promise<GuestResources | undefined>;
  /** Waits for a disk to appear and says what it is in the guest. `undefined` when this guest has no such call. */
  findDisk(disk: GuestDisk, call: Call): Promise<{ readonly node: string; readonly bytes: number } | undefined>;
  /**
   * Has the guest let go of a disk that is about to be unplugged. One that is not there is success, and so is a guest without such a call.
   * @throws AGENT_FAILED FAILED_PRECONDITION when it is mounted or otherwise in use; nothing has changed then.
   */
  releaseDisk(disk: GuestDisk, call: Call): Promise<void>;
  /** For guests that are saved and go on as others; absent when this guest cannot. */
  readonly identity?: AgentIdentity;
  /** The files of containers; absent when this agent never has such calls. */
  readonly files?: AgentFiles;
  /** Settles when the connection is gone; the error says why. Undefined after `close`. Never rejects. */
  readonly lost: Promise<Error | undefined>;
  close(): Promise<void>;
}

export interface GuestProcessId {
  readonly container: string;
  /** The container's own process has the container's id here, as in Kata. */
  readonly exec: string;
}

/** A process in a container, as the guest's kernel shows it. */
export interface GuestProcessInfo {
  /** As the container itself counts it: its first process is 1. As the guest does where the guest is a Kata guest. */
  readonly pid: number;
  /** 0 for a process whose parent is not in the container, as that of its first process and of each `execProcess`. */
  readonly parentPid: number;
  readonly uid: number;
  readonly gid: number;
  /** One letter, as in /proc/PID/stat: `R` runs, `S` and `D` wait, `T` is stopped. */
  readonly state: string;
  /** The arguments with spaces between them, or the program's name in brackets when there are none. At most 4096 characters. */
  readonly command: string;
  /** How long ago it was started. */
  readonly elapsedSeconds: number;
  /** Memory that it has in RAM, shared parts too. */
  readonly residentBytes: number;
}

export interface GuestDetails {
  /** The granularity of memory hot-plug in the guest, bytes; 0 when it has none. */
  readonly memoryBlockBytes: number;
  readonly agentVersion: string;
  readonly storageHandlers: readonly string[];
  readonly supportsSeccomp: boolean;
  /** Whether it takes what the Kata agent's protocol 1.x has no field for: a umask, and of a seccomp profile flags and error numbers. */
  readonly ociExtensions: boolean;
}

/** A file system that the agent mounts before the container starts, Kata's `Storage`. */
export interface GuestStorage {
  /** `virtio-fs`, `9p`, `blk`, `scsi`, `overlayfs`, `ephemeral`, `local`. */
  readonly driver: string;
  readonly source: string;
  readonly fstype: string;
  readonly options: readonly string[];
  readonly mountPoint: string;
}

/** What the guest's kernel works with. */
export interface GuestResources {
  readonly onlineVcpus: number;
  /** `MemTotal` of /proc/meminfo, bytes: what the kernel does not keep for itself. */
  readonly memoryBytes: number;
  /** `MemAvailable`, bytes: what can be had without taking it from anybody, and so what can be taken out. */
  readonly availableBytes: number;
}

/** A disk that a container gets as a device node, Kata's `Device`: the guest waits for it and finds out its numbers. */
export interface GuestDevice {
  readonly disk: GuestDisk;
  /** Where the container finds it. */
  readonly containerPath: string;
  /** Of `r` (read), `w` (write), `m` (make the node). */
  readonly permissions: string;
}

export interface GuestContainer {
  readonly container: string;
  readonly storages: readonly GuestStorage[];
  /** None when absent. */
  readonly devices?: readonly GuestDevice[];
  readonly spec: OciSpec;
}
