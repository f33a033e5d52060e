import { withDeadline } from "../../base/deadline.ts";
import { TapvisorError } from "../../base/errors.ts";
import { DEADLINES } from "../../config/defaults.ts";
import type { AgentFiles, FileAttributes, FilePlace } from "../../contracts/agent-files.ts";
import type { Call } from "../../contracts/holding.ts";
import type { SandboxContext } from "../../engine/context.ts";
import { requireSandbox } from "../../sandbox/state.ts";
import { requireContainer } from "../state.ts";

/** How the files of one container are reached: one request to its guest at a time, each with a deadline. */
export interface FileAccess {
  readonly container: string;
  /** A place in the container; `base` is a directory to stay in. @throws INVALID_INPUT. */
  place(path: string, base?: string): FilePlace;
  /** @throws UNSUPPORTED, INVALID_STATE, TIMEOUT, ABORTED, and what the request itself fails with. */
  ask<T>(request: FileRequest, work: (files: AgentFiles, call: Call) => Promise<T>): Promise<T>;
  /** Writes a whole file where the agent has no calls for files, before the container's start. @throws UNSUPPORTED otherwise. */
  copy(request: FileRequest, place: FilePlace, content: Buffer, attributes: FileAttributes): Promise<void>;
}

export interface FileRequest {
  /** As it stands in an error: `the reading of "/etc/passwd"`. */
  readonly what: string;
  readonly signal: AbortSignal | undefined;
  /** ms; 30 s when absent. */
  readonly timeoutMs?: number;
}

export function fileAccess(sb: SandboxContext, container: string): FileAccess {
  return {
    container,
    place: (path, base) => ({ container, path: checkFilePath("path", path), ...(base !== undefined && { base }) }),
    ask: async ({ what, signal, timeoutMs = DEADLINES.agent }, work) => {
      requireSandbox(sb, "use the container's files", "ready", "running");
      requireContainer(sb, container, "use the container's files", "ready", "running", "paused", "stopped");
      const { files } = sb.guest.client;
      if (!files) throw noFiles();
      return withDeadline({ what: `${what} in container "${container}"`, timeoutMs, signal }, (inner) =>
        work(files, { signal: inner, log: sb.log }),
      );
    },
    copy: async ({ what, signal, timeoutMs = DEADLINES.agent }, place, content, attributes) => {
      const { copyBeforeStart } = await import("./copy-before-start.ts");
      return withDeadline({ what: `${what} in container "${container}"`, timeoutMs, signal }, (inner) =>
        copyBeforeStart(sb, place, content, attributes, { signal: inner, log: sb.log }),
      );
    },
  };
}

/** @throws INVALID_INPUT unless it is an absolute path that a kernel would take. */
export function checkFilePath(field: string, path: unknown): string {
  if (typeof path === "string" && path.startsWith("/") && !path.includes("\0") && Buffer.byteLength(path) < LONGEST_PATH) return path;
  const wanted = `an absolute path in the container, without NUL, of less than ${LONGEST_PATH} bytes`;
  const shown = JSON.stringify(path)?.slice(0, 120);
  throw new TapvisorError("INVALID_INPUT", `Cannot use ${field} ${shown}: wanted ${wanted}`, {
    data: { path: field, value: path, wanted },
  });
}

const LONGEST_PATH = 4096;

function noFiles(): TapvisorError<"UNSUPPORTED"> {
  return new TapvisorError("UNSUPPORTED", "Cannot use the container's files: its agent has no calls for them", {
    data: { what: "files of a container", by: "the agent" },
  });
}
