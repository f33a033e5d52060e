import { once } from "node:events";
import { type ClientHttp2Session, connect, createServer, type IncomingHttpHeaders } from "node:http2";
import { Duplex, duplexPair, Transform } from "node:stream";
import fc from "fast-check";
import * as assert from "uvu/assert";
import { acceptingAnyAuthority } from "../../../../plugins/guest-linux/agent/foreign/any-authority.ts";
import { withUsualAuthority } from "../../../../plugins/guest-linux/agent/foreign/hpack.ts";
import { huffmanDecode } from "../../../../plugins/guest-linux/agent/foreign/huffman.ts";
import { suite } from "../../../support/suite.ts";

const s = suite("guest agent: clients that are not ours");

s.test("HPACK's code is read as RFC 7541 has it in its examples", () => {
  const examples = {
    f1e3c2e5f23a6ba0ab90f4ff: "www.example.com",
    a8eb10649cbf: "no-cache",
    "9d29ad171863c78f0b97c8e9ae82ae43d3": "https://www.example.com",
  };
  for (const [coded, text] of Object.entries(examples)) assert.is(huffmanDecode(Buffer.from(coded, "hex")).toString(), text);
});

s.test("only an authority with unusual characters is changed, to one of the same length", () => {
  const path = Buffer.concat([Buffer.from([0x04, 6]), Buffer.from("/a/b/c")]); // :path, static index 4
  const authority = (text: string) => Buffer.concat([Buffer.from([0x41, text.length]), Buffer.from(text)]);
  const changed = withUsualAuthority(Buffer.concat([path, authority("/run/kata.sock"), path]));
  assert.equal(changed, Buffer.concat([path, authority(".run.kata.sock"), path]));
  assert.is(withUsualAuthority(Buffer.concat([path, authority("localhost:50051"), Buffer.from([0x82])])), undefined);
  const long = withUsualAuthority(Buffer.concat([Buffer.from([0x41, 0x7f, 0xad, 0x01]), Buffer.alloc(300, "/")])); // 127 + 0x2d + 128
  assert.equal(long, Buffer.concat([Buffer.from([0x41, 0x7f, 0xad, 0x01]), Buffer.alloc(300, ".")]));
});

s.test("a block that is no header block is left as it is", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      withUsualAuthority(Buffer.from(bytes));
    }),
    { numRuns: 5000 },
  );
});

/** An HTTP/2 server behind the wrapper, and a client whose bytes come in pieces of `pieceBytes`. */
async function world(pieceBytes: number) {
  const heard: IncomingHttpHeaders[] = [];
  const server = createServer();
  server.on("stream", (stream, headers) => {
    heard.push(headers);
    stream.respond({ ":status": 200 });
    stream.end("ok");
  });
  const [near, far] = duplexPair() as [Duplex, Duplex];
  const pieces = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      for (let at = 0; at < chunk.length; at += pieceBytes) this.push(chunk.subarray(at, at + pieceBytes));
      done();
    },
  });
  server.emit("connection", acceptingAnyAuthority(Duplex.from({ readable: far.pipe(pieces), writable: far })));
  const client = connect("http://ignored", { createConnection: () => near });
  return {
    heard,
    client,
    [Symbol.asyncDispose]: async () => client.destroy(),
  };
}

async function request(client: ClientHttp2Session, authority: string, extra: Record<string, string> = {}): Promise<string> {
  const stream = client.request({ ":method": "POST", ":path": "/grpc.Health/Check", ":authority": authority, ...extra });
  stream.end("body");
  let body = "";
  for await (const chunk of stream) body += chunk;
  return body;
}

for (const pieceBytes of [1, 7, 16_384]) {
  s.test(
    `requests with a socket's path as authority are served, in pieces of ${pieceBytes}, also when both sides' tables are full`,
    async () => {
      await using at = await world(pieceBytes);
      for (let index = 0; index < 150; index += 1) {
        // Each adds an entry of some 100 bytes to a table of 4096: entries drop out, the authority's among them.
        const note = `${index}-${"x".repeat(60)}`;
        assert.is(await request(at.client, index % 3 ? "/run/vc/sbs/kata.sock" : `/other/${index}.sock`, { "x-note": note }), "ok");
        assert.is(at.heard.at(-1)?.["x-note"], note);
        assert.is(at.heard.at(-1)?.[":path"], "/grpc.Health/Check");
      }
      assert.is(at.heard[1]?.[":authority"], ".run.vc.sbs.kata.sock");
    },
  );
}

s.test("the end of the client's half is the end of the connection: nothing is written to it any more", async () => {
  const [near, far] = duplexPair() as [Duplex, Duplex];
  const connection = acceptingAnyAuthority(far);
  const closed = once(connection, "close");
  let ended = false;
  connection.on("end", () => {
    ended = true;
  });
  connection.resume();
  near.end("PRI * HTTP/2.0");
  await closed;
  assert.ok(far.destroyed && !ended);
});

s.run();
