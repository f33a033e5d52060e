import { once } from "node:events";
import type { Duplex } from "node:stream";
import { encodeAcknowledgement, YamuxStream } from "tapvisor/protocol";
import type { InputStream } from "../process/input-stream.ts";
import { StatusError } from "../status.ts";
import { Waits } from "../waits.ts";
import { Arrivals } from "./arrivals.ts";

/** What the host may send ahead of the pipe, bytes: each grant is a write to the port, which costs as much as many pages of input. */
const WINDOW_BYTES = 1024 * 1024;

/** While more is there already, input is acknowledged at this many bytes: an acknowledgement is a write to the port, too. */
const ACKNOWLEDGE_BYTES = 512 * 1024;

/**
 * Gives a process what comes, and acknowledges what its pipe has taken. The end of what comes closes the pipe; a connection that breaks does not.
 * When the process takes no more, our side ends first. @throws what a broken connection throws.
 */
export async function serveInput(input: InputStream, connection: Duplex, gone: AbortSignal): Promise<void> {
  if (connection instanceof YamuxStream) connection.widen(WINDOW_BYTES);
  const waits = new Waits(gone);
  const arrivals = new Arrivals(connection, waits);
  try {
    let unsaid = 0;
    for (let chunks = await arrivals.next(); chunks.length > 0; chunks = await arrivals.next()) {
      await input.writeAll(chunks, waits);
      unsaid += chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      if (arrivals.waiting && unsaid < ACKNOWLEDGE_BYTES) continue; // the host waits for the last of its bytes, and that is still to come
      const said = connection.write(encodeAcknowledgement(unsaid));
      unsaid = 0;
      if (!said) await once(connection, "drain", { signal: gone });
    }
    input.close();
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    arrivals.drop(); // what is still on its way is lost, as with any pipe that nobody reads
  }
  connection.end();
}
