import { TapvisorError } from "tapvisor/plugin";
import { escapeControls } from "./diagnostics.ts";
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
  return { major: numberOf(major), minor: numberOf(minor), micro: numberOf(micro) };
}

export function refused(command: string, error: Message): TapvisorError {
  return new TapvisorError("VM_COMMAND_FAILED", `Cannot run QEMU's command "${command}": ${textOf(error.desc)}`, {
    data: { command, class: textOf(error.class) },
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

const MAX_TEXT = 4096;

/** A reason from QEMU, which may name what a guest has chosen, fit to be printed. */
export function textOf(value: unknown): string {
  return typeof value === "string" ? escapeControls(value.slice(0, MAX_TEXT)).replaceAll("\n", "\\n") : "no reason given";
}

function numberOf(value: unknown): number {
  return typeof value === "number" ? value : Number.NaN;
}
