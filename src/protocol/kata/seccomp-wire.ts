import { TapvisorError } from "../../base/errors.ts";
import type { OciSeccomp, OciSyscallRule } from "../../contracts/oci.ts";
import type { WireErrno, WireSeccomp, WireSyscallRule } from "./oci-types.ts";

/** The message for a seccomp profile. Pure. @throws INVALID_INPUT for a number that is no exact integer from 0 on. */
export function seccompToWire({ defaultAction, defaultErrnoRet, architectures, flags, syscalls }: OciSeccomp): WireSeccomp {
  return {
    DefaultAction: defaultAction,
    Architectures: architectures ?? [],
    Syscalls: (syscalls ?? []).map(ruleToWire),
    Flags: flags ?? [],
    DefaultErrno: errnoToWire(defaultErrnoRet),
  };
}

function ruleToWire({ names, action, errnoRet, args = [] }: OciSyscallRule, rule: number): WireSyscallRule {
  return {
    Names: names,
    Action: action,
    Args: args.map(({ index, value, valueTwo = 0, op }, position) => {
      const at = `linux.seccomp.syscalls[${rule}].args[${position}]`;
      return { Index: sent(index, `${at}.index`), Value: sent(value, `${at}.value`), ValueTwo: sent(valueTwo, `${at}.valueTwo`), Op: op };
    }),
    Errno: errnoToWire(errnoRet),
  };
}

function errnoToWire(number: number | undefined): WireErrno | null {
  return number === undefined ? null : { Number: number };
}

/** The seccomp profile in a decoded message. Pure. @throws INVALID_INPUT for a number that is too large to be exact. */
export function seccompFromWire({ DefaultAction, DefaultErrno, Architectures, Flags, Syscalls }: WireSeccomp): OciSeccomp {
  return {
    defaultAction: DefaultAction,
    ...(DefaultErrno && { defaultErrnoRet: DefaultErrno.Number }),
    ...(Architectures.length > 0 && { architectures: Architectures }),
    ...(Flags.length > 0 && { flags: Flags }),
    ...(Syscalls.length > 0 && { syscalls: Syscalls.map(ruleFromWire) }),
  };
}

function ruleFromWire({ Names, Action, Errno, Args }: WireSyscallRule, rule: number): OciSyscallRule {
  const args = Args.map(({ Index, Value, ValueTwo, Op }, position) => {
    const at = `linux.seccomp.syscalls[${rule}].args[${position}]`;
    const two = received(ValueTwo, `${at}.valueTwo`);
    return { index: received(Index, `${at}.index`), value: received(Value, `${at}.value`), ...(two !== 0 && { valueTwo: two }), op: Op };
  });
  return { names: Names, action: Action, ...(Errno && { errnoRet: Errno.Number }), ...(args.length > 0 && { args }) };
}

function sent(value: number, path: string): string {
  return String(exact(value, `Cannot send "${path}"`, path));
}

function received(value: string, path: string): number {
  return exact(Number(value), `Cannot read "${path}"`, path);
}

function exact(value: number, cannot: string, path: string): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  const wanted = "a whole number below 2^53";
  throw new TapvisorError("INVALID_INPUT", `${cannot}: ${value}, wanted ${wanted}`, { data: { path, value, wanted } });
}
