import type { Duplex } from "node:stream";
import { AcknowledgementReader } from "tapvisor/protocol";
import type { GuestProcess } from "../process/guest-process.ts";
import type { OutputStream } from "../process/output-stream.ts";
import { StatusError } from "../status.ts";
import { until } from "../until.ts";
import { Waits } from "../waits.ts";

/** What is handed to the connection at once, bytes: two of its largest frames. */
const WRITE_BYTES = 2 * (4 * 32 * 1024 - 12);

/**
 * Sends what a process writes, from the first byte that no reader has acknowledged, and then the end; waits for its turn and for the start to be decided.
 * Returns when the reader has acknowledged everything or wants no more. @throws the signal's reason; INVALID_ARGUMENT for acknowledgements that cannot be.
 */
export async function serveOutput(process: GuestProcess, output: OutputStream, connection: Duplex, gone: AbortSignal): Promise<void> {
  await until(process.decided, gone);
  await output.follow(gone, async (turn) => {
    const reader = new AcknowledgementReader();
    const stop = new AbortController();
    const signal = AbortSignal.any([gone, stop.signal]);
    const waits = new Waits(signal);
    let settled: () => void = () => {};
    connection.on("data", (chunk: Buffer) => {
      try {
        const bytes = reader.push(chunk);
        if (bytes === undefined) throw new StatusError("INVALID_ARGUMENT", "an acknowledgement of no bytes");
        turn.acknowledge(bytes);
        if (turn.unacknowledged === 0) settled();
      } catch (error) {
        stop.abort(error);
      }
    });
    connection.once("end", () => stop.abort(NO_MORE));
    try {
      for (let bytes = await turn.next(WRITE_BYTES, signal); bytes.length > 0; bytes = await turn.next(WRITE_BYTES, signal)) {
        // The connection's window is the back-pressure.
        await waits.until((done) => connection.write(bytes, done));
      }
      connection.end();
      await waits.until((done) => {
        settled = done;
        if (turn.unacknowledged === 0) done();
      });
    } catch (error) {
      if (error !== NO_MORE) throw error;
      connection.end();
    }
  });
}

/** Why a stream stops whose reader has ended its side. */
const NO_MORE = new Error("the reader wants no more");
