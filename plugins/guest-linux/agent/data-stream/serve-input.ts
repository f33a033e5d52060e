import { once } from "node:events";
import type { Duplex } from "node:stream";
import { encodeAcknowledgement } from "tapvisor/protocol";
import type { InputStream } from "../process/input-stream.ts";
import { StatusError } from "../status.ts";

/**
 * Gives a process what comes, and acknowledges what its pipe has taken. The end of what comes closes the pipe; a connection that breaks does not.
 * When the process takes no more, our side ends first. @throws what a broken connection throws.
 */
export async function serveInput(input: InputStream, connection: Duplex, gone: AbortSignal): Promise<void> {
  try {
    for await (const chunk of connection.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      await input.writeAll(chunk, gone);
      if (!connection.write(encodeAcknowledgement(chunk.length))) await once(connection, "drain", { signal: gone });
    }
    input.close();
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    connection.resume(); // what is still on its way is lost, as with any pipe that nobody reads
  }
  connection.end();
}
