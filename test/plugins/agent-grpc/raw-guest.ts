import { createServer, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { OWN_AGENT } from "../../../src/protocol/kata/index.ts";
import { type FakeGuest, fakeGuest } from "./fake-guest.ts";

/** Field 2 of the answer, `agent_version`: it is one of ours. */
const VERSION = Buffer.from(`\x12${String.fromCharCode(OWN_AGENT.length)}${OWN_AGENT}`);

/** A guest that speaks HTTP/2 and nothing above it: what it answers is up to the test, byte for byte. Check and Version are answered well. */
export async function rawGuest(
  answer: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
): Promise<FakeGuest & { session(): ServerHttp2Session }> {
  const server = createServer();
  const sessions: ServerHttp2Session[] = [];
  server.on("session", (session) => {
    sessions.push(session);
    session.on("error", () => {});
  });
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    if (headers[":path"] === "/grpc.Health/Check") answerWith(stream, [frame(Buffer.from([8, 1]))]);
    else if (headers[":path"] === "/grpc.Health/Version") answerWith(stream, [frame(VERSION)]);
    else answer(stream, headers);
  });
  const guest = await fakeGuest((stream) => server.emit("connection", stream));
  return {
    ...guest,
    session: () => {
      const [session] = sessions;
      if (!session) throw new Error("no session");
      return session;
    },
  };
}

/** A gRPC message with its prefix: compressed or not, and a length that may be a lie. */
export function frame(message: Uint8Array, { compressed = false, length = message.length } = {}): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = compressed ? 1 : 0;
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}

/** Answers a call with these bytes, then the trailers (status OK unless told). */
export function answerWith(
  stream: ServerHttp2Stream,
  body: readonly Uint8Array[],
  { headers = {}, trailers = {} }: { headers?: Record<string, string>; trailers?: Record<string, string | readonly string[]> } = {},
): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc+proto", ...headers }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0", ...trailers }));
  for (const bytes of body) stream.write(bytes);
  stream.end();
}
