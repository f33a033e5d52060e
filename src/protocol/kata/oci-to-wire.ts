import { TapvisorError } from "../../base/errors.ts";
import type { OciDevice, OciLinux, OciProcess, OciResources, OciSpec } from "../../contracts/oci.ts";
import type { WireDevice, WireDeviceRule, WireLinux, WireProcess, WireResources, WireSpec } from "./oci-types.ts";
import { seccompToWire } from "./seccomp-wire.ts";

/** 2^64: what JSON.parse makes of RLIM_INFINITY, 2^64 - 1. */
const RLIM_INFINITY = 2 ** 64;
/** 2^64 - 1: no limit, where the wire has no negative numbers. */
const UNLIMITED = "18446744073709551615";

/**
 * The message for an OCI configuration. Pure.
 *
 * @throws INVALID_INPUT for a number that is no exact integer; `path` is the field's OCI name.
 */
export function ociToWire(spec: OciSpec): WireSpec {
  return {
    Version: spec.ociVersion,
    Process: processToWire(spec.process),
    Root: { Path: spec.root.path, Readonly: spec.root.readonly },
    Hostname: spec.hostname ?? "",
    Mounts: spec.mounts,
    Annotations: spec.annotations ?? {},
    Linux: linuxToWire(spec.linux),
  };
}

/** The message for a process on its own, for `ExecProcess`. Pure. @throws INVALID_INPUT for a number that is no exact integer. */
export function processToWire(process: OciProcess): WireProcess {
  const { user, capabilities } = process;
  return {
    Terminal: process.terminal,
    ConsoleSize: process.consoleSize ? { Height: process.consoleSize.height, Width: process.consoleSize.width } : null,
    User: {
      UID: user.uid,
      GID: user.gid,
      AdditionalGids: user.additionalGids ?? [],
      Username: user.username ?? "",
      Umask: user.umask === undefined ? null : { Bits: user.umask },
    },
    Args: process.args,
    Env: process.env,
    Cwd: process.cwd,
    Capabilities: capabilities
      ? {
          Bounding: capabilities.bounding,
          Effective: capabilities.effective,
          Inheritable: capabilities.inheritable,
          Permitted: capabilities.permitted,
          Ambient: capabilities.ambient,
        }
      : null,
    Rlimits: (process.rlimits ?? []).map(({ type, soft, hard }, index) => ({
      Type: type,
      Soft: rlimit(soft, `process.rlimits[${index}].soft`),
      Hard: rlimit(hard, `process.rlimits[${index}].hard`),
    })),
    NoNewPrivileges: process.noNewPrivileges,
    OOMScoreAdj: integer(process.oomScoreAdj, "process.oomScoreAdj"),
  };
}

function linuxToWire(linux: OciLinux): WireLinux {
  return {
    Resources: linux.resources ? resourcesToWire(linux.resources, "linux.resources") : null,
    CgroupsPath: linux.cgroupsPath ?? "",
    Namespaces: linux.namespaces.map(({ type, path }) => ({ Type: type, Path: path ?? "" })),
    MaskedPaths: linux.maskedPaths,
    ReadonlyPaths: linux.readonlyPaths,
    Devices: (linux.devices ?? []).map((device, index) => deviceToWire(device, `linux.devices[${index}]`)),
    Sysctl: linux.sysctl ?? {},
    Seccomp: linux.seccomp ? seccompToWire(linux.seccomp) : null,
  };
}

function deviceToWire({ path, type, major, minor, fileMode, uid, gid }: OciDevice, at: string): WireDevice {
  return {
    Path: path,
    Type: type,
    Major: integer(major, `${at}.major`),
    Minor: integer(minor, `${at}.minor`),
    FileMode: fileMode ?? 0,
    UID: uid ?? 0,
    GID: gid ?? 0,
  };
}

/**
 * The message for limits on their own; `at` is what they are called in an error.
 *
 * @throws INVALID_INPUT for a number that is no exact integer.
 */
export function resourcesToWire({ devices, memory, cpu, pids, hugepageLimits }: OciResources, at: string): WireResources {
  return {
    Devices: (devices ?? []).map((rule, index) => deviceRuleToWire(rule, `${at}.devices[${index}]`)),
    Memory: memory
      ? {
          Limit: integer(memory.limit, `${at}.memory.limit`),
          Reservation: integer(memory.reservation, `${at}.memory.reservation`),
          Swap: integer(memory.swap, `${at}.memory.swap`),
        }
      : null,
    CPU: cpu
      ? {
          Shares: integer(cpu.shares, `${at}.cpu.shares`),
          Quota: integer(cpu.quota, `${at}.cpu.quota`),
          Period: integer(cpu.period, `${at}.cpu.period`),
          Cpus: cpu.cpus ?? "",
          Mems: cpu.mems ?? "",
        }
      : null,
    Pids: pids ? { Limit: integer(pids.limit, `${at}.pids.limit`) } : null,
    HugepageLimits: (hugepageLimits ?? []).map(({ pageSize, limit }, index) => ({
      Pagesize: pageSize,
      Limit: limit < 0 ? UNLIMITED : integer(limit, `${at}.hugepageLimits[${index}].limit`),
    })),
  };
}

function deviceRuleToWire(rule: NonNullable<OciResources["devices"]>[number], at: string): WireDeviceRule {
  return {
    Allow: rule.allow,
    Type: rule.type ?? "",
    Major: integer(rule.major ?? -1, `${at}.major`), // 0 is a number of its own here; -1 is any
    Minor: integer(rule.minor ?? -1, `${at}.minor`),
    Access: rule.access,
  };
}

function rlimit(value: number, path: string): string {
  return value >= RLIM_INFINITY ? UNLIMITED : integer(value, path);
}

function integer(value: number | undefined, path: string): string {
  if (value === undefined) return "0";
  if (Number.isSafeInteger(value)) return value.toFixed(0);
  throw new TapvisorError("INVALID_INPUT", `Cannot send "${path}": ${value}, wanted an integer between -2^53 and 2^53`, {
    data: { path, value, wanted: "an integer between -2^53 and 2^53" },
  });
}
