import { TapvisorError } from "../../base/errors.ts";

/** The error for a peer that breaks the protocol. */
export function protocolError(what: string): TapvisorError<"GUEST_PROTOCOL"> {
  return new TapvisorError("GUEST_PROTOCOL", `Cannot go on with the connection: the other side sent ${what}`, { data: { what } });
}

/** The error for a connection that is no more. */
export function lost(cause?: Error): TapvisorError<"AGENT_LOST"> {
  return new TapvisorError("AGENT_LOST", "Cannot go on with the connection: the other side is gone", { data: {}, cause });
}

const resets = new WeakSet<Error>();

export function resetByPeer(id: number): TapvisorError<"AGENT_LOST"> {
  const error = new TapvisorError("AGENT_LOST", `Cannot go on with stream ${id}: the other side reset it`, { data: {} });
  resets.add(error);
  return error;
}

/** Whether a stream's error is that the other side has reset it, and not the end of the connection. */
export function wasReset(error: Error | null): boolean {
  return error !== null && resets.has(error);
}

export function refusedByPeer(): TapvisorError<"AGENT_LOST"> {
  return new TapvisorError("AGENT_LOST", "Cannot open a stream: the other side takes no more", { data: {} });
}

export function tooManyStreams(open: number, available: number): TapvisorError<"HOST_LIMIT"> {
  const data = { what: "yamux streams", wanted: open + 1, available };
  return new TapvisorError("HOST_LIMIT", `Cannot open a stream: ${open} are open, wanted fewer than ${available}`, { data });
}
