import type { Duplex } from "node:stream";
import {
  beginsPreamble,
  type DataStreamRequest,
  encodeAnswer,
  isKeepPreamble,
  MAX_LINE_BYTES,
  parsePreamble,
  parseRenewal,
  type Renewal,
  splitLine,
} from "tapvisor/protocol";

/** How long the rest of a preamble may take to come, ms. */
const REST_MS = 15_000;

export interface ConnectionKinds {
  /** Gets everything that is no data stream, as it came. */
  grpc(connection: Duplex): void;
  /** Gets what came behind the preamble. Never rejects. */
  data(request: DataStreamRequest, connection: Duplex): Promise<void>;
  /** The same for a guest that is to become a machine of its own. */
  renewal(request: Renewal, connection: Duplex): Promise<void>;
  /** The same for one that is to be saved. */
  keep(connection: Duplex): void;
}

/** Looks at the first bytes of a connection and hands it on. One that never sends a byte is nobody's, and ends with its session. */
export function sortConnection(connection: Duplex, { grpc, data, renewal, keep }: ConnectionKinds): void {
  let seen: Buffer = Buffer.alloc(0);
  let timer: NodeJS.Timeout | undefined;
  const done = () => {
    clearTimeout(timer);
    connection.off("readable", look).off("end", cut).off("close", done);
  };
  const cut = () => {
    done();
    connection.destroy();
  };
  const look = () => {
    for (let chunk = connection.read() as Buffer | null; chunk; chunk = connection.read() as Buffer | null) {
      seen = seen.length > 0 ? Buffer.concat([seen, chunk]) : chunk;
      const line = beginsPreamble(seen) ? splitLine(seen.subarray(0, MAX_LINE_BYTES)) : undefined;
      if (line || !beginsPreamble(seen)) {
        done();
        const rest = line ? seen.subarray(seen.indexOf("\n") + 1) : seen;
        if (rest.length > 0) connection.unshift(rest);
        if (!line) return grpc(connection);
        if (isKeepPreamble(line.text)) return keep(connection);
        const renewed = parseRenewal(line.text);
        if (renewed) return void renewal(renewed, connection);
        const request = parsePreamble(line.text);
        if (request) return void data(request, connection);
        return refuse(connection, "a preamble that names no stream of a process, and nothing else that is served");
      }
      if (seen.length >= MAX_LINE_BYTES) {
        done();
        return refuse(connection, `a preamble of more than ${MAX_LINE_BYTES} bytes`);
      }
      timer ??= setTimeout(cut, REST_MS).unref();
    }
  };
  connection.on("error", () => {}); // "close" follows
  connection.on("readable", look).on("end", cut).on("close", done);
}

function refuse(connection: Duplex, what: string): void {
  connection.resume();
  connection.end(encodeAnswer({ status: "INVALID_ARGUMENT", text: `Cannot serve the stream: it begins with ${what}` }));
}
