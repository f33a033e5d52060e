import { isTapvisorError, messageOf } from "tapvisor/plugin";

/** The gRPC statuses this agent answers with, by their numbers on the wire. */
export const STATUS = {
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
} as const;

export type StatusName = keyof typeof STATUS;

/** A refusal with a status of its own; anything else that is thrown is answered as INTERNAL. */
export class StatusError extends Error {
  readonly status: StatusName;
  /** 127 for a command that does not exist, 126 for one that cannot be executed. */
  readonly exitCode: 126 | 127 | undefined;
  /** The system's word for the reason, where a file could not be used. */
  readonly errno: string | undefined;

  constructor(
    status: StatusName,
    message: string,
    exitCode?: 126 | 127,
    { errno, ...options }: ErrorOptions & { readonly errno?: string } = {},
  ) {
    super(message, options);
    this.status = status;
    this.exitCode = exitCode;
    this.errno = errno;
  }
}

const MAX_DETAILS = 4096;

/** What a thrown value is on the wire: the status, and one line of text without control characters, at most 4 KiB. */
export function statusOf(thrown: unknown): {
  readonly status: StatusName;
  readonly details: string;
  readonly exitCode?: number;
  readonly errno?: string;
} {
  const details = oneLine(messageOf(thrown));
  if (thrown instanceof StatusError) {
    const { status, exitCode, errno } = thrown;
    return { status, details, ...(exitCode !== undefined && { exitCode }), ...(errno !== undefined && { errno }) };
  }
  if (isTapvisorError(thrown)) {
    if (thrown.code === "INVALID_INPUT") return { status: "INVALID_ARGUMENT", details };
    if (thrown.code === "TIMEOUT") return { status: "DEADLINE_EXCEEDED", details };
    if (thrown.code === "ABORTED") return { status: "CANCELLED", details };
  }
  return { status: "INTERNAL", details };
}

function oneLine(text: string): string {
  const flat = text.replace(/[\x00-\x1f\x7f]+/g, " ").trim();
  return Buffer.byteLength(flat) <= MAX_DETAILS
    ? flat
    : Buffer.from(flat)
        .subarray(0, MAX_DETAILS - 3)
        .toString("utf8")
        .replace(/\ufffd$/, "");
}
