import type { GuestProcessId } from "./agent.ts";
import type { Call } from "./holding.ts";

/**
 * The standard streams of a process without a question for each piece. An agent client has these calls only where its guest offers them; otherwise
 * `readStdout`, `readStderr` and `writeStdin` are what there is.
 *
 * On one connection no byte is lost or given twice. When a connection is lost, what its reader had not said it has is given again by the next one.
 */
export interface AgentStreams {
  /**
   * Opens what the process writes, also before its start and after its end. Readers of one stream take turns: the next one, by whichever call, gets its
   * bytes when this one has been closed. `undefined` when no more streams can be open at once.
   * @throws AGENT_FAILED NOT_FOUND, GUEST_PROTOCOL.
   */
  openOutput?(process: GuestProcessId, stream: "stdout" | "stderr", call: Call): Promise<GuestOutput | undefined>;
  /** Opens what the process reads. `undefined` when no more streams can be open at once. @throws AGENT_FAILED NOT_FOUND, GUEST_PROTOCOL. */
  openInput?(process: GuestProcessId, call: Call): Promise<GuestInput | undefined>;
}

/** A stream from a process. What nobody reads waits in the guest, but for a bounded window. */
export interface GuestOutput {
  /** The next bytes, waiting for some; empty at the end, again and again. One call at a time. @throws AGENT_LOST, GUEST_PROTOCOL, ABORTED. */
  read(signal: AbortSignal): Promise<Uint8Array>;
  /** The reader has so many bytes more for good: whoever reads next does not get them again. */
  taken(bytes: number): void;
  /** Lets go of it, and says what was taken. What was read and not taken is given to the next reader. Again is nothing. */
  close(): void;
}

/** A stream to a process. */
export interface GuestInput {
  /** Resolves when the process's pipe has taken all of it. @throws AGENT_FAILED FAILED_PRECONDITION when the process takes no more, AGENT_LOST, ABORTED. */
  write(data: Uint8Array, signal: AbortSignal): Promise<void>;
  /** Closes the process's input, and resolves when that is done. */
  end(signal: AbortSignal): Promise<void>;
  /** Lets go of it without an end for the process. Again is nothing. */
  close(): void;
}
