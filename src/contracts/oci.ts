/** The parts of the OCI runtime specification 1.1 that the engine writes, in the specification's own names. */
export interface OciSpec {
  readonly ociVersion: string;
  readonly hostname?: string;
  readonly root: { readonly path: string; readonly readonly: boolean };
  readonly process: OciProcess;
  readonly mounts: readonly OciMount[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly linux: OciLinux;
}

export interface OciProcess {
  readonly terminal: boolean;
  /** The terminal's first size, characters. */
  readonly consoleSize?: { readonly height: number; readonly width: number };
  readonly user: OciUser;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly capabilities?: OciCapabilities;
  /** A soft or hard limit of 2^64 is none. */
  readonly rlimits?: readonly { readonly type: string; readonly soft: number; readonly hard: number }[];
  readonly noNewPrivileges: boolean;
  readonly oomScoreAdj?: number;
}

export interface OciUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids?: readonly number[];
  /** Permission bits that new files do not get; the guest's own, 022, when absent. */
  readonly umask?: number;
  /** `user` or `user:group` by name or number, as the root file system's /etc/passwd and /etc/group have them; in place of `uid` and `gid`. */
  readonly username?: string;
}

export type OciCapabilities = Readonly<Record<"bounding" | "effective" | "inheritable" | "permitted" | "ambient", readonly string[]>>;

export interface OciMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

export interface OciLinux {
  readonly namespaces: readonly { readonly type: string; readonly path?: string }[];
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  readonly cgroupsPath?: string;
  readonly resources?: OciResources;
  readonly devices?: readonly OciDevice[];
  readonly sysctl?: Readonly<Record<string, string>>;
  readonly seccomp?: OciSeccomp;
}

/** Which system calls a container may make. An action is a name such as `SCMP_ACT_ALLOW`. */
export interface OciSeccomp {
  readonly defaultAction: string;
  /** What a call that `defaultAction` refuses fails with; EPERM when absent. */
  readonly defaultErrnoRet?: number;
  /** `SCMP_ARCH_X86_64`; the guest's own when empty. */
  readonly architectures?: readonly string[];
  readonly flags?: readonly string[];
  readonly syscalls?: readonly OciSyscallRule[];
}

export interface OciSyscallRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  /** All of them have to hold. */
  readonly args?: readonly { readonly index: number; readonly value: number; readonly valueTwo?: number; readonly op: string }[];
}

/** A device node of a container. */
export interface OciDevice {
  readonly path: string;
  /** Block, or character. */
  readonly type: "b" | "c";
  readonly major: number;
  readonly minor: number;
  /** Permission bits. */
  readonly fileMode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** The limits of a container's cgroup. Sizes in bytes, -1 without a limit; times in microseconds. */
export interface OciResources {
  /** `swap` is memory and swap together, as the specification has it. */
  readonly memory?: { readonly limit?: number; readonly reservation?: number; readonly swap?: number };
  readonly cpu?: {
    readonly shares?: number;
    /** -1 without a limit. */
    readonly quota?: number;
    readonly period?: number;
    /** A list such as `0-2,4`. */
    readonly cpus?: string;
    readonly mems?: string;
  };
  readonly pids?: { readonly limit: number };
  readonly hugepageLimits?: readonly { readonly pageSize: string; readonly limit: number }[];
  readonly devices?: readonly {
    readonly allow: boolean;
    readonly access: string;
    readonly type?: string;
    readonly major?: number;
    readonly minor?: number;
  }[];
}
