import type { ConnectOpts, Socket } from "node:net";
import type { OutputBuffer } from "./output-buffer.ts";

/** The pipe behind an output stream. */
export interface OutputSource {
  /** Goes on after the buffer was full. */
  resume(): void;
  destroy(): void;
}

/** What a source tells: there are more bytes in the buffer, or there will be none. */
export interface OutputEvents {
  filled(): void;
  ended(): void;
}

export type OpenSource = (buffer: OutputBuffer, events: OutputEvents) => OutputSource;

/** Reads a socket right into the buffer; `open` makes it with these options, paused. */
export function socketSource(open: (options: Pick<ConnectOpts, "onread">) => Socket): OpenSource {
  return (buffer, { filled, ended }) => {
    const onread = {
      buffer: () => buffer.region,
      callback: (bytes: number) => {
        const goOn = buffer.filled(bytes);
        filled();
        return goOn;
      },
    };
    let socket: Socket | undefined = open({ onread });
    socket.on("error", ended); // a pipe that fails has no more to give
    socket.once("end", ended);
    socket.once("close", () => {
      socket = undefined; // it would hold the last region, and so the whole buffer
      ended();
    });
    socket.resume();
    return { resume: () => void socket?.resume(), destroy: () => void socket?.destroy() };
  };
}
