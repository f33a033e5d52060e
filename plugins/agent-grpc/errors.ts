import { type Metadata, status } from "@grpc/grpc-js";
import { TapvisorError } from "tapvisor/plugin";
import { ERRNO_KEY, EXIT_CODE_KEY } from "tapvisor/protocol";
import { guestText } from "./guest-text.ts";

/** How a call ended that did not succeed. */
export interface Failure {
  readonly name: string;
  readonly subject: string;
  readonly command?: string | undefined;
  /** The file that the call was about. */
  readonly path?: string | undefined;
  readonly timeoutMs: number | undefined;
  readonly code: number;
  readonly text: string;
  readonly metadata: Metadata;
  /** The answer came and could not be decoded. */
  readonly unreadable: boolean;
}

/** The error for a failed call. It carries no cause: grpc-js's own error repeats the guest's text, unbounded and unescaped. */
export function toTapvisorError(failure: Failure): TapvisorError {
  const { name, subject, command, path, timeoutMs, code } = failure;
  const text = guestText(failure.text);
  const what = `${name} of ${subject}`;
  if (command !== undefined) {
    const exitCode = commandExitCode(failure);
    if (exitCode === 127) {
      return new TapvisorError("COMMAND_NOT_FOUND", `Cannot run "${command}" in ${subject}: it does not exist there (${text})`, {
        data: { command, exitCode },
        hint: "Check the command, its path in the container's file system and PATH",
      });
    }
    if (exitCode === 126) {
      return new TapvisorError("COMMAND_NOT_EXECUTABLE", `Cannot run "${command}" in ${subject}: it cannot be executed (${text})`, {
        data: { command, exitCode },
        hint: "Check that it is a program for this architecture with the execute permission",
      });
    }
  }
  if (code === status.DEADLINE_EXCEEDED) {
    const why = text.startsWith("Deadline exceeded after") ? `no answer within ${timeoutMs} ms` : text; // grpc-js's own, or the agent's
    return new TapvisorError("TIMEOUT", `Timed out waiting for ${what}: ${why}`, { data: { what, timeoutMs: timeoutMs ?? 0 } });
  }
  if (breaksProtocol(failure)) {
    return new TapvisorError("GUEST_PROTOCOL", `Cannot read the agent's answer to ${what}: ${text}`, { data: { what } });
  }
  const errno = path === undefined ? undefined : errnoIn(failure.metadata);
  if (path !== undefined && errno !== undefined) return fileError(path, errno, `Cannot finish ${what}: ${text}`);
  const statusName = status[code] ?? "UNKNOWN";
  return new TapvisorError("AGENT_FAILED", `Cannot finish ${what}: the agent answered ${statusName} (${text})`, {
    data: { method: name, status: statusName },
  });
}

/**
 * Whether a failed start is the command's own fault: 127 when it does not exist, 126 when it cannot be executed. Our agent says so in the
 * trailing metadata; a Kata agent only in the text of its runtime ("exec" is part of it, which sets it apart from a mount that failed).
 */
export function commandExitCode({ text, metadata }: Pick<Failure, "text" | "metadata">): 126 | 127 | undefined {
  const [told] = metadata.get(EXIT_CODE_KEY);
  if (told === "127") return 127;
  if (told === "126") return 126;
  const shown = text.slice(0, 4096);
  if (/executable file .{0,300}not found|\bexec\b.*no such file or directory/i.test(shown)) return 127;
  if (/\bexec\b.*(permission denied|exec format error|is a directory)/i.test(shown)) return 126;
  return undefined;
}

/** The limits and rules that grpc-js itself checks; it has no other sign for them than its text. */
function breaksProtocol({ code, text, unreadable }: Failure): boolean {
  if (unreadable) return true;
  if (code === status.INTERNAL) return text.startsWith("Received RST_STREAM with code 2 triggered by internal client error");
  if (code === status.RESOURCE_EXHAUSTED) return /^Received message (larger than max|that decompresses)/.test(text);
  return code === status.UNIMPLEMENTED && (text === "Too many responses received" || text === "No message received");
}

export function isUnimplemented({ code, text }: Pick<Failure, "code" | "text">): boolean {
  return code === status.UNIMPLEMENTED && text !== "Too many responses received" && text !== "No message received";
}

function fileError(path: string, errno: string, message: string): TapvisorError {
  if (errno === "ENOENT") return new TapvisorError("NOT_FOUND", message, { data: { kind: "file", id: path } });
  const hint = HINTS[errno];
  return new TapvisorError("FILE_FAILED", message, { data: { path, errno }, ...(hint !== undefined && { hint }) });
}

const HINTS: Readonly<Record<string, string>> = {
  EROFS: "it is read-only in the container: its root file system or the mount that it is in",
  EBUSY: "what is mounted in a container can be neither replaced nor removed; a mounted file can be written with { inPlace: true }",
  ENXIO: "start the container first, or use the source of the mount on the host",
};

/** Why the guest's system has refused, as our agent says it. */
function errnoIn(metadata: Metadata): string | undefined {
  const [told] = metadata.get(ERRNO_KEY);
  return typeof told === "string" && /^E[A-Z0-9]{1,20}$/.test(told) ? told : undefined;
}
