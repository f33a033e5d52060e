import { TapvisorError } from "../../base/errors.ts";
import type { OciDevice, OciLinux, OciProcess, OciResources, OciSpec, OciUser } from "../../contracts/oci.ts";
import type { WireDevice, WireDeviceRule, WireLinux, WireProcess, WireResources, WireSpec, WireUser } from "./oci-types.ts";
import { seccompFromWire } from "./seccomp-wire.ts";

/**
 * The OCI configuration in a decoded message. Pure. What proto3 cannot tell from "not given" (a zero, an empty string) is left out.
 *
 * @throws INVALID_INPUT when `process`, `root` or `linux` is missing, or a number is too large to be exact; `path` is the field's OCI name.
 */
export function ociFromWire(wire: WireSpec): OciSpec {
  const root = present(wire.Root, "root");
  return {
    ociVersion: wire.Version,
    ...(wire.Hostname !== "" && { hostname: wire.Hostname }),
    root: { path: root.Path, readonly: root.Readonly },
    process: processFromWire(present(wire.Process, "process")),
    mounts: wire.Mounts.map(({ destination, type, source, options }) => ({ destination, type, source, options })),
    ...(Object.keys(wire.Annotations).length > 0 && { annotations: wire.Annotations }),
    linux: linuxFromWire(present(wire.Linux, "linux")),
  };
}

/** The process of one in a decoded message, for `ExecProcess`. Pure. @throws INVALID_INPUT for a number that is too large to be exact. */
export function processFromWire(wire: WireProcess): OciProcess {
  const capabilities = wire.Capabilities;
  return {
    terminal: wire.Terminal,
    ...(wire.ConsoleSize && { consoleSize: { height: wire.ConsoleSize.Height, width: wire.ConsoleSize.Width } }),
    user: userFromWire(wire.User),
    args: wire.Args,
    env: wire.Env,
    cwd: wire.Cwd,
    ...(capabilities && {
      capabilities: {
        bounding: capabilities.Bounding,
        effective: capabilities.Effective,
        inheritable: capabilities.Inheritable,
        permitted: capabilities.Permitted,
        ambient: capabilities.Ambient,
      },
    }),
    ...(wire.Rlimits.length > 0 && {
      rlimits: wire.Rlimits.map(({ Type: type, Soft, Hard }) => ({ type, soft: rlimit(Soft), hard: rlimit(Hard) })),
    }),
    noNewPrivileges: wire.NoNewPrivileges,
    ...given("oomScoreAdj", wire.OOMScoreAdj, "process"),
  };
}

function userFromWire(wire: WireUser | null): OciUser {
  if (!wire) return { uid: 0, gid: 0 };
  return {
    uid: wire.UID,
    gid: wire.GID,
    ...(wire.AdditionalGids.length > 0 && { additionalGids: wire.AdditionalGids }),
    ...(wire.Username !== "" && { username: wire.Username }),
    ...(wire.Umask && { umask: wire.Umask.Bits }),
  };
}

function linuxFromWire(wire: WireLinux): OciLinux {
  return {
    namespaces: wire.Namespaces.map(({ Type: type, Path: path }) => ({ type, ...(path !== "" && { path }) })),
    maskedPaths: wire.MaskedPaths,
    readonlyPaths: wire.ReadonlyPaths,
    ...(wire.CgroupsPath !== "" && { cgroupsPath: wire.CgroupsPath }),
    ...(wire.Resources && { resources: resourcesFromWire(wire.Resources, "linux.resources") }),
    ...(wire.Devices.length > 0 && { devices: wire.Devices.map((device, index) => deviceFromWire(device, `linux.devices[${index}]`)) }),
    ...(Object.keys(wire.Sysctl).length > 0 && { sysctl: wire.Sysctl }),
    ...(wire.Seccomp && { seccomp: seccompFromWire(wire.Seccomp) }),
  };
}

/** @throws INVALID_INPUT for a type that is no kind of device node. */
function deviceFromWire(wire: WireDevice, at: string): OciDevice {
  const type = wire.Type === "u" ? "c" : wire.Type; // "u" is a character device without a buffer, which has not been a kind of its own for long
  if (type !== "b" && type !== "c") {
    throw new TapvisorError("INVALID_INPUT", `Cannot read "${at}.type": ${JSON.stringify(wire.Type)}, wanted "b" or "c"`, {
      data: { path: `${at}.type`, value: wire.Type, wanted: '"b" or "c"' },
    });
  }
  return {
    path: wire.Path,
    type,
    major: integer(wire.Major, `${at}.major`),
    minor: integer(wire.Minor, `${at}.minor`),
    ...(wire.FileMode !== 0 && { fileMode: wire.FileMode }),
    ...(wire.UID !== 0 && { uid: wire.UID }),
    ...(wire.GID !== 0 && { gid: wire.GID }),
  };
}

/**
 * The limits in a decoded message; `at` is what they are called in an error.
 *
 * @throws INVALID_INPUT for a number that is too large to be exact.
 */
export function resourcesFromWire({ Devices, Memory, CPU, Pids, HugepageLimits }: WireResources, at: string): OciResources {
  return {
    ...(Memory && {
      memory: {
        ...given("limit", Memory.Limit, `${at}.memory`),
        ...given("reservation", Memory.Reservation, `${at}.memory`),
        ...given("swap", Memory.Swap, `${at}.memory`),
      },
    }),
    ...(CPU && {
      cpu: {
        ...given("shares", CPU.Shares, `${at}.cpu`),
        ...given("quota", CPU.Quota, `${at}.cpu`),
        ...given("period", CPU.Period, `${at}.cpu`),
        ...(CPU.Cpus !== "" && { cpus: CPU.Cpus }),
        ...(CPU.Mems !== "" && { mems: CPU.Mems }),
      },
    }),
    ...(Pids && { pids: { limit: integer(Pids.Limit, `${at}.pids.limit`) } }),
    ...(HugepageLimits.length > 0 && {
      hugepageLimits: HugepageLimits.map(({ Pagesize, Limit }, index) => ({
        pageSize: Pagesize,
        limit: BigInt(Limit) >= 2n ** 63n ? -1 : integer(Limit, `${at}.hugepageLimits[${index}].limit`),
      })),
    }),
    ...(Devices.length > 0 && { devices: Devices.map((rule, index) => deviceRuleFromWire(rule, `${at}.devices[${index}]`)) }),
  };
}

function deviceRuleFromWire(wire: WireDeviceRule, at: string): NonNullable<OciResources["devices"]>[number] {
  const major = integer(wire.Major, `${at}.major`);
  const minor = integer(wire.Minor, `${at}.minor`);
  // A client in Go sends 0 for "not given"; with every type meant no number can be, with one type the narrower reading is the safe one.
  const everyType = wire.Type === "" || wire.Type === "a";
  return {
    allow: wire.Allow,
    access: wire.Access,
    ...(wire.Type !== "" && { type: wire.Type }),
    ...(major >= 0 && !everyType && { major }),
    ...(minor >= 0 && !everyType && { minor }),
  };
}

function given<Key extends string>(key: Key, value: string, at: string): { readonly [K in Key]?: number } {
  return value === "0" ? {} : ({ [key]: integer(value, `${at}.${key}`) } as { [K in Key]: number });
}

/** RLIM_INFINITY and its like become the largest number that JSON carries exactly: no kernel limit is above it. */
function rlimit(value: string): number {
  return Math.min(Number(value), Number.MAX_SAFE_INTEGER);
}

function integer(value: string, path: string): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw new TapvisorError("INVALID_INPUT", `Cannot read "${path}": ${value}, wanted an integer between -2^53 and 2^53`, {
    data: { path, value, wanted: "an integer between -2^53 and 2^53" },
  });
}

function present<T>(value: T | null, path: string): T {
  if (value !== null) return value;
  throw new TapvisorError("INVALID_INPUT", `Cannot read the OCI configuration: "${path}" is missing, wanted a message`, {
    data: { path, wanted: "a message" },
  });
}
