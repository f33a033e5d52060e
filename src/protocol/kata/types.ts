import type { NetworkCalls } from "./network-types.ts";
import type { WireProcess, WireResources, WireSpec } from "./oci-types.ts";
import type { StatsContainerResponse } from "./stats-types.ts";
import type { KernelModuleMessage, SystemCalls } from "./system-types.ts";

/**
 * The messages that the engine and its guest agent use, as they are decoded: every field is present (a message that was not sent is `null`),
 * enums are their names, `bytes` are Buffers, 64-bit integers are decimal strings so that they are exact.
 */
export interface StorageMessage {
  readonly driver: string;
  readonly driver_options: readonly string[];
  readonly source: string;
  readonly fstype: string;
  readonly options: readonly string[];
  readonly mount_point: string;
}

export interface CreateSandboxRequest {
  readonly hostname: string;
  readonly dns: readonly string[];
  readonly storages: readonly StorageMessage[];
  readonly sandbox_pidns: boolean;
  readonly sandbox_id: string;
  readonly guest_hook_path: string;
  readonly kernel_modules: readonly KernelModuleMessage[];
}

export interface GuestDetailsRequest {
  readonly mem_block_size: boolean;
  readonly mem_hotplug_probe: boolean;
}

export interface GuestDetailsResponse {
  /** Bytes. */
  readonly mem_block_size_bytes: string;
  readonly agent_details: AgentDetails | null;
  readonly support_mem_hotplug_probe: boolean;
}

export interface AgentDetails {
  readonly version: string;
  readonly init_daemon: boolean;
  readonly device_handlers: readonly string[];
  readonly storage_handlers: readonly string[];
  readonly supports_seccomp: boolean;
  readonly extra_features: readonly string[];
}

export interface DeviceMessage {
  /** Where the guest finds it: for `blk` its PCI path, for `scsi` its `id:lun`. */
  readonly id: string;
  readonly type: string;
  readonly vm_path: string;
  readonly container_path: string;
  readonly options: readonly string[];
}

export interface OnlineCpuMemRequest {
  readonly wait: boolean;
  readonly nb_cpus: number;
  readonly cpu_only: boolean;
}

export interface CreateContainerRequest {
  readonly container_id: string;
  readonly exec_id: string;
  readonly devices: readonly DeviceMessage[];
  readonly storages: readonly StorageMessage[];
  readonly OCI: WireSpec | null;
  readonly sandbox_pidns: boolean;
}

export interface ContainerRequest {
  readonly container_id: string;
}

export interface UpdateContainerRequest extends ContainerRequest {
  readonly resources: WireResources | null;
}

export interface RemoveContainerRequest extends ContainerRequest {
  /** Seconds, 0 for ever. */
  readonly timeout: number;
}

export interface ProcessRequest extends ContainerRequest {
  readonly exec_id: string;
}

export interface ExecProcessRequest extends ProcessRequest {
  readonly process: WireProcess | null;
}

export interface TtyWinResizeRequest extends ProcessRequest {
  readonly row: number;
  readonly column: number;
}

export interface ListProcessesRequest extends ContainerRequest {
  /** `json` for the pids alone, `table` for what ps prints. */
  readonly format: string;
  /** Those of ps. */
  readonly args: readonly string[];
}

export interface ListProcessesResponse {
  readonly process_list: Uint8Array;
}

export interface SignalProcessRequest extends ProcessRequest {
  readonly signal: number;
}

export interface WaitProcessResponse {
  readonly status: number;
}

export interface WriteStreamRequest extends ProcessRequest {
  readonly data: Uint8Array;
}

export interface WriteStreamResponse {
  readonly len: number;
}

export interface ReadStreamRequest extends ProcessRequest {
  readonly len: number;
}

export interface ReadStreamResponse {
  readonly data: Uint8Array;
}

export interface CheckRequest {
  readonly service: string;
}

export interface HealthCheckResponse {
  readonly status: "UNKNOWN" | "SERVING" | "NOT_SERVING" | number;
}

export interface VersionCheckResponse {
  readonly grpc_version: string;
  readonly agent_version: string;
  /** Not of Kata: the version of the data streams that the agent serves beside gRPC, 0 for none. */
  readonly tapvisor_data_streams: number;
  /** Not of Kata: the version of the renewal that the agent serves in a guest that goes on from a saved one, 0 for none. */
  readonly tapvisor_renewal: number;
}

export interface SyncResourcesRequest {
  /** 0 leaves them as they are. */
  readonly vcpus: number;
}

export interface SyncResourcesResponse {
  readonly online_vcpus: number;
  readonly memory_bytes: string;
  readonly available_bytes: string;
}

export interface DiskRequest {
  readonly driver: string;
  readonly address: string;
}

export interface FindDiskResponse {
  readonly node: string;
  readonly bytes: string;
}

export interface ProcessInfoMessage {
  readonly pid: number;
  readonly parent_pid: number;
  readonly uid: number;
  readonly gid: number;
  readonly state: string;
  readonly command: string;
  readonly elapsed_seconds: string;
  readonly resident_bytes: string;
}

export interface DescribeProcessesResponse {
  readonly processes: readonly ProcessInfoMessage[];
}

export interface OfferImageResponse {
  readonly path: string;
}

export type Empty = Record<string, never>;

/** Request and response of the calls of `grpc.AgentService` that have types here; the service definition has all 34. */
export interface AgentCalls extends NetworkCalls, SystemCalls {
  CreateSandbox: [CreateSandboxRequest, Empty];
  DestroySandbox: [Empty, Empty];
  GetGuestDetails: [GuestDetailsRequest, GuestDetailsResponse];
  OnlineCPUMem: [OnlineCpuMemRequest, Empty];
  CreateContainer: [CreateContainerRequest, Empty];
  StartContainer: [ContainerRequest, Empty];
  RemoveContainer: [RemoveContainerRequest, Empty];
  UpdateContainer: [UpdateContainerRequest, Empty];
  StatsContainer: [ContainerRequest, StatsContainerResponse];
  PauseContainer: [ContainerRequest, Empty];
  ResumeContainer: [ContainerRequest, Empty];
  ExecProcess: [ExecProcessRequest, Empty];
  SignalProcess: [SignalProcessRequest, Empty];
  WaitProcess: [ProcessRequest, WaitProcessResponse];
  WriteStdin: [WriteStreamRequest, WriteStreamResponse];
  ReadStdout: [ReadStreamRequest, ReadStreamResponse];
  ReadStderr: [ReadStreamRequest, ReadStreamResponse];
  CloseStdin: [ProcessRequest, Empty];
  TtyWinResize: [TtyWinResizeRequest, Empty];
  ListProcesses: [ListProcessesRequest, ListProcessesResponse];
}

/** Request and response of the calls of `grpc.Health`. */
export interface HealthCalls {
  Check: [CheckRequest, HealthCheckResponse];
  Version: [CheckRequest, VersionCheckResponse];
}

/** Request and response of the calls of `tapvisor.Guest`. */
export interface GuestCalls {
  SyncResources: [SyncResourcesRequest, SyncResourcesResponse];
  FindDisk: [DiskRequest, FindDiskResponse];
  ReleaseDisk: [DiskRequest, Empty];
  DescribeProcesses: [ContainerRequest, DescribeProcessesResponse];
  OfferImage: [Empty, OfferImageResponse];
  WithdrawImage: [Empty, Empty];
  PrepareToBeSaved: [Empty, Empty];
}
