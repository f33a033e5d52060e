import { TapvisorError } from "tapvisor/plugin";
import type { QemuVersion } from "./version.ts";

/** One line of the control protocol. Nothing about it is known before it is looked at. */
export type Message = Readonly<Record<string, unknown>>;

export function parse(line: string): Message {
  const value: unknown = JSON.parse(line);
  if (!isObject(value)) throw new Error("a message that is no object");
  return value;
}

export function versionOf(greeting: Message): QemuVersion {
  const { major, minor, micro } = objectOf(objectOf(greeting.version).qemu);
  return { major: Number(major), minor: Number(minor), micro: Number(micro) };
}

export function refused(command: string, error: Message): TapvisorError {
  return new TapvisorError("VM_COMMAND_FAILED", `Cannot run QEMU's command "${command}": ${String(error.desc)}`, {
    data: { command, class: String(error.class) },
  });
}

export function disconnected(command: string, reason: Error | undefined): TapvisorError<"VM_COMMAND_FAILED"> {
  return new TapvisorError("VM_COMMAND_FAILED", `Cannot run QEMU's command "${command}": the control connection has ended`, {
    data: { command, class: "Disconnected" },
    cause: reason,
  });
}

export function isObject(value: unknown): value is Message {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function objectOf(value: unknown): Message {
  return isObject(value) ? value : {};
}
