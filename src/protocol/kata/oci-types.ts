/** The OCI messages as they are decoded; the names are those of the wire. 64-bit integers are decimal strings. */
export interface WireSpec {
  readonly Version: string;
  readonly Process: WireProcess | null;
  readonly Root: { readonly Path: string; readonly Readonly: boolean } | null;
  readonly Hostname: string;
  readonly Mounts: readonly WireMount[];
  readonly Annotations: Readonly<Record<string, string>>;
  readonly Linux: WireLinux | null;
}

export interface WireProcess {
  readonly Terminal: boolean;
  readonly ConsoleSize: { readonly Height: number; readonly Width: number } | null;
  readonly User: WireUser | null;
  readonly Args: readonly string[];
  readonly Env: readonly string[];
  readonly Cwd: string;
  readonly Capabilities: WireCapabilities | null;
  readonly Rlimits: readonly WireRlimit[];
  readonly NoNewPrivileges: boolean;
  readonly OOMScoreAdj: string;
}

export interface WireUser {
  readonly UID: number;
  readonly GID: number;
  readonly AdditionalGids: readonly number[];
  readonly Username: string;
  readonly Umask: { readonly Bits: number } | null;
}

export interface WireCapabilities {
  readonly Bounding: readonly string[];
  readonly Effective: readonly string[];
  readonly Inheritable: readonly string[];
  readonly Permitted: readonly string[];
  readonly Ambient: readonly string[];
}

export interface WireRlimit {
  readonly Type: string;
  readonly Hard: string;
  readonly Soft: string;
}

export interface WireMount {
  readonly destination: string;
  readonly source: string;
  readonly type: string;
  readonly options: readonly string[];
}

export interface WireLinux {
  readonly Resources: WireResources | null;
  readonly CgroupsPath: string;
  readonly Namespaces: readonly { readonly Type: string; readonly Path: string }[];
  readonly MaskedPaths: readonly string[];
  readonly ReadonlyPaths: readonly string[];
  readonly Devices: readonly WireDevice[];
  readonly Sysctl: Readonly<Record<string, string>>;
  readonly Seccomp: WireSeccomp | null;
}

export interface WireSeccomp {
  readonly DefaultAction: string;
  readonly Architectures: readonly string[];
  readonly Syscalls: readonly WireSyscallRule[];
  readonly Flags: readonly string[];
  readonly DefaultErrno: WireErrno | null;
}

export interface WireSyscallRule {
  readonly Names: readonly string[];
  readonly Action: string;
  readonly Args: readonly { readonly Index: string; readonly Value: string; readonly ValueTwo: string; readonly Op: string }[];
  readonly Errno: WireErrno | null;
}

export interface WireErrno {
  readonly Number: number;
}

export interface WireDevice {
  readonly Path: string;
  readonly Type: string;
  readonly Major: string;
  readonly Minor: string;
  readonly FileMode: number;
  readonly UID: number;
  readonly GID: number;
}

export interface WireResources {
  readonly Devices: readonly WireDeviceRule[];
  readonly Memory: { readonly Limit: string; readonly Reservation: string; readonly Swap: string } | null;
  readonly CPU: WireCpu | null;
  readonly Pids: { readonly Limit: string } | null;
  readonly HugepageLimits: readonly { readonly Pagesize: string; readonly Limit: string }[];
}

export interface WireCpu {
  readonly Shares: string;
  readonly Quota: string;
  readonly Period: string;
  readonly Cpus: string;
  readonly Mems: string;
}

export interface WireDeviceRule {
  readonly Allow: boolean;
  readonly Type: string;
  readonly Major: string;
  readonly Minor: string;
  readonly Access: string;
}
