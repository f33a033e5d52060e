import { randomInt } from "node:crypto";
import type { Socket } from "node:net";
import { type AgentEndpoint, type Call, TapvisorError, type TransportConnection, throwIfAborted } from "tapvisor/plugin";
import { AnswerScanner, announcement, newNonce, yamuxOver } from "tapvisor/protocol";
import { openSocket } from "./open-socket.ts";

/**
 * Connects to the socket, begins a new session with whatever the guest still holds of an old one, and resolves when the guest has answered.
 *
 * The announcement waits for a guest that still boots: QEMU leaves the bytes in the socket until the guest opens its port. One that closes its port at
 * the end of a session, as a Kata agent does, throws away what has just reached it, so the announcement is repeated when no answer comes. All of them
 * come before anything else that the host sends, so the last one counts, and the other answers are echoes that nobody waits for.
 *
 * @throws UNSUPPORTED for another kind of endpoint, INVALID_INPUT for a path too long for a socket, AGENT_LOST when there is no socket or it closes,
 * ABORTED when `call.signal` fires.
 */
export async function connectSerial(endpoint: AgentEndpoint, call: Call): Promise<TransportConnection> {
  if (endpoint.kind !== "serial") {
    const data = { what: `an endpoint of kind ${endpoint.kind}`, by: "transport-serial" };
    throw new TapvisorError("UNSUPPORTED", `Cannot connect to an endpoint of kind "${endpoint.kind}": wanted "serial"`, { data });
  }
  throwIfAborted(call.signal, "connecting to the guest's agent");
  const socket = await openSocket(endpoint.path, call.signal);
  const begun = performance.now();
  const { behind, discarded } = await resynchronise(socket, call.signal).catch((error) => {
    socket.destroy();
    throw error;
  });
  call.log.debug({ path: endpoint.path, discarded, ms: Math.round(performance.now() - begun) }, "the guest answered on its serial port");
  const session = yamuxOver(socket, { role: "client", firstStream: unusedStream() });
  if (behind.length > 0) session.receive(behind);
  return {
    openStream: async ({ windowBytes } = {}) => session.openStream(windowBytes),
    closed: session.closed,
    close: () => session.close(),
  };
}

/** How often a session is announced until the guest answers, ms: longer than a guest takes to boot unless the machine is busy. */
const ANNOUNCE_EVERY_MS = 5000;

/**
 * An unmodified yamux server that has not noticed that the last host left still has that one's streams, and would end the session over an id it knows.
 */
function unusedStream(): number {
  return 2 * randomInt(2 ** 30) + 1;
}

/** Announces a session and discards what comes before the answer. Leaves the socket paused. */
function resynchronise(socket: Socket, signal: AbortSignal): Promise<{ behind: Buffer; discarded: number }> {
  const nonce = newNonce();
  const scanner = new AnswerScanner(nonce);
  return new Promise((resolve, reject) => {
    const onAbort = () => settle(() => reject(abortedOf(signal)));
    const onClose = () => settle(() => reject(lost(failure)));
    let failure: Error | undefined;
    const onError = (error: Error) => {
      failure = error; // "close" follows
    };
    const onData = (chunk: Buffer) => {
      const behind = scanner.push(chunk);
      if (!behind) return;
      socket.pause();
      settle(() => resolve({ behind, discarded: scanner.discarded }));
    };
    const announce = () => void socket.write(announcement(nonce));
    const repeating = setInterval(announce, ANNOUNCE_EVERY_MS);
    const settle = (act: () => void) => {
      clearInterval(repeating);
      signal.removeEventListener("abort", onAbort);
      socket.off("data", onData).off("error", onError).off("close", onClose).off("end", onClose);
      act();
    };
    signal.addEventListener("abort", onAbort);
    socket.on("data", onData).on("error", onError).on("close", onClose).on("end", onClose);
    announce();
  });
}

function abortedOf(signal: AbortSignal): TapvisorError {
  const what = "connecting to the guest's agent";
  return new TapvisorError("ABORTED", "Cannot connect to the guest's agent: it did not answer before the caller gave up", {
    data: { what },
    cause: signal.reason,
    hint: "the guest still boots, its agent does not run, or another process holds the port",
  });
}

function lost(cause: Error | undefined): TapvisorError {
  return new TapvisorError("AGENT_LOST", "Cannot connect to the guest's agent: the serial port was closed before it answered", {
    data: {},
    cause,
  });
}
