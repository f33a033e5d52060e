import { createServer } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream";
import { Client, credentials, type MethodDefinition, Server, ServerCredentials, status } from "@grpc/grpc-js";
import { acceptSessions } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { connectSerial } from "../../../plugins/transport-serial/connect.ts";
import { fakeChardev, silentCall } from "../../plugins/transport-serial/support/chardev.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { serialPort } from "./support/serial-port.ts";

const s = suite("gRPC over yamux over a serial port");
const same = (bytes: Buffer) => bytes;

const method = (name: string, responseStream: boolean): MethodDefinition<Buffer, Buffer> => ({
  path: `/test.Echo/${name}`,
  requestStream: false,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});
const echo = method("Echo", false);
const many = method("Many", true);

/** A guest that serves gRPC on each stream of each session, as an agent does. */
function grpcGuest() {
  const serial = serialPort();
  const server = new Server();
  server.addService(
    { echo, many },
    {
      echo: (call: { request: Buffer }, done: (error: null, answer: Buffer) => void) => done(null, call.request),
      many: async (call: {
        request: Buffer;
        write(bytes: Buffer): boolean;
        once(event: string, listener: () => void): void;
        end(): void;
      }) => {
        for (let left = call.request.readUInt32BE(0); left > 0; left -= 1) {
          if (!call.write(Buffer.alloc(65_536, left & 0xff))) await new Promise<void>((resolve) => call.once("drain", resolve));
        }
        call.end();
      },
    },
  );
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const served = acceptSessions(serial.port, (session) => {
    session.onStream = (stream) => injector.injectConnection(stream);
  });
  return {
    serial,
    [Symbol.asyncDispose]: async () => {
      server.forceShutdown();
      serial.close();
      await served.catch(() => {});
    },
  };
}

/** A gRPC client over one stream: grpc-js dials only addresses, so the stream stands behind a private socket. */
async function dial(directory: string, stream: Duplex) {
  const path = join(directory, `g${dials++}`);
  const server = createServer((socket) => {
    server.close();
    pipeline(stream, socket, stream, () => {});
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const client = new Client(`unix:${path}`, credentials.createInsecure(), { "grpc.enable_retries": 0 });
  const options = () => ({ deadline: Date.now() + 20_000 });
  return {
    unary: (bytes: Buffer) =>
      new Promise<Buffer>((resolve, reject) =>
        client.makeUnaryRequest(echo.path, same, same, bytes, options(), (error, answer) =>
          error ? reject(error) : resolve(answer as Buffer),
        ),
      ),
    many: (count: number) => {
      const request = Buffer.alloc(4);
      request.writeUInt32BE(count);
      return client.makeServerStreamRequest(many.path, same, same, request, options());
    },
    [Symbol.asyncDispose]: async () => {
      client.close();
      stream.destroy();
    },
  };
}
let dials = 0;

s.test("calls one by one, many at once, and large ones are answered as over a socket of their own", async () => {
  await using directory = await tempDirectory();
  await using guest = grpcGuest();
  await using chardev = await fakeChardev(join(directory.path, "port"), guest.serial);
  const connection = await connectSerial(chardev.endpoint, silentCall());
  {
    await using client = await dial(directory.path, await connection.openStream());
    for (let i = 0; i < 50; i += 1) assert.is((await client.unary(Buffer.from(`call ${i}`))).toString(), `call ${i}`);
    const together = await Promise.all(Array.from({ length: 100 }, (_, index) => client.unary(Buffer.from(`at once ${index}`))));
    together.forEach((answer, index) => {
      assert.is(answer.toString(), `at once ${index}`);
    });
    const large = Buffer.alloc(3_000_000, "x");
    assert.ok((await client.unary(large)).equals(large));
  }
  await connection.close();
});

s.test("a stream of messages keeps back-pressure and does not hold up another connection", async () => {
  await using directory = await tempDirectory();
  await using guest = grpcGuest();
  await using chardev = await fakeChardev(join(directory.path, "port"), guest.serial);
  const connection = await connectSerial(chardev.endpoint, silentCall());
  {
    await using client = await dial(directory.path, await connection.openStream());
    await using other = await dial(directory.path, await connection.openStream());
    const call = client.many(200);
    let got = 0;
    for await (const message of call) {
      got += (message as Buffer).length;
      if (got % (65_536 * 50) === 0) assert.is((await other.unary(Buffer.from("meanwhile"))).toString(), "meanwhile");
    }
    assert.is(got, 200 * 65_536);
  }
  await connection.close();
});

s.test("calls fail as UNAVAILABLE when the connection goes, and a new one serves again", async () => {
  await using directory = await tempDirectory();
  await using guest = grpcGuest();
  await using chardev = await fakeChardev(join(directory.path, "port"), guest.serial);
  for (let round = 0; round < 5; round += 1) {
    const connection = await connectSerial(chardev.endpoint, silentCall());
    await using client = await dial(directory.path, await connection.openStream());
    assert.is((await client.unary(Buffer.from("before"))).toString(), "before");
    const call = client.many(1000); // far more than any buffer on the way
    await new Promise((resolve) => call.once("data", resolve));
    call.pause();
    const ended = new Promise<number>((resolve) => call.once("error", (error: { code: number }) => resolve(error.code)));
    await connection.close();
    call.resume();
    assert.is(await ended, status.UNAVAILABLE);
  }
});

s.run();
