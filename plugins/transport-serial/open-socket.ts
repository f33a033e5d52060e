import { connect, type Socket } from "node:net";
import { messageOf, TapvisorError } from "tapvisor/plugin";

/** A unix socket's address holds 108 bytes, the last of them 0. */
const MAX_PATH_BYTES = 107;

/** Connects to a unix socket. @throws INVALID_INPUT, AGENT_LOST, ABORTED */
export function openSocket(path: string, signal: AbortSignal): Promise<Socket> {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_PATH_BYTES) {
    const data = { path: "endpoint.path", value: path, wanted: `at most ${MAX_PATH_BYTES} bytes` };
    throw new TapvisorError("INVALID_INPUT", `Cannot connect to "${path}": ${bytes} bytes, wanted at most ${MAX_PATH_BYTES}`, {
      data,
      hint: "use a shorter root directory",
    });
  }
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    const onAbort = () => {
      socket.destroy();
      const what = "connecting to the guest's agent";
      reject(new TapvisorError("ABORTED", `Cannot connect to "${path}": the caller gave up`, { data: { what }, cause: signal.reason }));
    };
    const onError = (error: Error) => {
      signal.removeEventListener("abort", onAbort);
      reject(new TapvisorError("AGENT_LOST", `Cannot connect to "${path}": ${messageOf(error)}`, { data: {}, cause: error }));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("error", onError);
    socket.on("error", () => {}); // "close" says it all, and an error between two owners of the socket must not be thrown
    socket.once("connect", () => {
      signal.removeEventListener("abort", onAbort);
      socket.off("error", onError);
      resolve(socket);
    });
  });
}
