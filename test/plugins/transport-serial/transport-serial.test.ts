import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { type AgentEndpoint, isTapvisorError, type Transport, type TransportConnection } from "tapvisor/plugin";
import { transportSerial } from "tapvisor/plugins/transport-serial";
import { ANNOUNCEMENT_BYTES, acceptSessions, YamuxSession, yamuxOver } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { connectSerial } from "../../../plugins/transport-serial/connect.ts";
import { readAll } from "../../protocol/yamux/support/pipes.ts";
import { serialPort } from "../../protocol/yamux/support/serial-port.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { fakeChardev, silentCall } from "./support/chardev.ts";

const s = suite("transport-serial");
const codeOf = (error: unknown) => (isTapvisorError(error) ? error.code : String(error));

/** A socket with a guest behind it that sends back what it gets. */
async function world() {
  const directory = await tempDirectory();
  const serial = serialPort();
  const chardev = await fakeChardev(join(directory.path, "port"), serial);
  const begin = () =>
    acceptSessions(serial.port, (session) => {
      session.onStream = (stream) => stream.pipe(stream);
    }).catch(() => {});
  return {
    ...chardev,
    serial,
    /** The guest opens its port. */
    boot: () => void begin(),
    [Symbol.asyncDispose]: async () => {
      serial.close();
      await chardev[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** A bare socket server in the place of QEMU. */
async function socketServer(onConnection: (socket: Socket) => void) {
  const directory = await tempDirectory();
  const path = join(directory.path, "port");
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    endpoint: { kind: "serial", path } satisfies AgentEndpoint,
    directory: directory.path,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await directory[Symbol.asyncDispose]();
    },
  };
}

async function works(connection: TransportConnection): Promise<boolean> {
  try {
    const stream = await connection.openStream();
    stream.end("there and back");
    return (await readAll(stream)).toString() === "there and back";
  } catch (error) {
    assert.is(codeOf(error), "AGENT_LOST");
    return false;
  }
}

s.test("the plugin provides the transport `serial` for serial endpoints", async () => {
  const offered: [string, string, Transport][] = [];
  const context = { provide: (slot: string, name: string, make: () => Transport) => offered.push([slot, name, make()]) };
  await transportSerial().apply(context as unknown as Parameters<ReturnType<typeof transportSerial>["apply"]>[0]);
  assert.equal(
    offered.map(([slot, name, transport]) => [slot, name, transport.endpoints]),
    [["transport", "serial", ["serial"]]],
  );
});

s.test("a connection carries streams, and close() ends it at both ends without a reason", async () => {
  await using guest = await world();
  guest.boot();
  const connection = await connectSerial(guest.endpoint, silentCall());
  assert.ok(await works(connection));
  const stream = await connection.openStream();
  const ended = once(stream, "close").catch(() => {});
  await connection.close();
  await ended;
  assert.is(await connection.closed, undefined);
  assert.is(await connection.openStream().catch(codeOf), "AGENT_LOST");
  await connection.close();
});

s.test("a guest that boots late finds the one announcement that waited for it", async () => {
  await using guest = await world();
  const connecting = connectSerial(guest.endpoint, silentCall());
  await new Promise((resolve) => setImmediate(resolve));
  guest.boot();
  const connection = await connecting;
  assert.ok(await works(connection));
  assert.ok(guest.serial.sent.toGuest < ANNOUNCEMENT_BYTES + 200); // announced once
  await connection.close();
});

s.test("an unmodified yamux server, which knows nothing of announcements, is reached too", async () => {
  await using server = await socketServer((socket) => {
    const session = yamuxOver(socket, { role: "server" });
    session.onStream = (stream) => stream.pipe(stream);
  });
  const connection = await connectSerial(server.endpoint, silentCall());
  assert.ok(await works(connection));
  await connection.close();
});

s.test("an unmodified yamux server that has not noticed that a host left takes the next one's streams beside the old ones", async () => {
  let current: Socket | undefined;
  const output = { write: async (frames: readonly Buffer[]) => void current?.write(Buffer.concat(frames)), close: () => {} };
  const session = new YamuxSession({ role: "server", output });
  session.onStream = (stream) => stream.on("error", () => {}).pipe(stream);
  await using server = await socketServer((socket) => {
    current = socket;
    socket.on("data", (chunk) => session.receive(chunk));
  });
  for (let host = 0; host < 5; host += 1) {
    const connection = await connectSerial(server.endpoint, silentCall());
    assert.ok(await works(connection));
    const open = await connection.openStream();
    open.on("error", () => {}).write("left open");
    await once(open, "data");
    const left = new Promise((resolve) => current?.once("close", resolve));
    (await connection.openStream()).on("error", () => {});
    await connection.close();
    await left;
    assert.not(session.ended);
  }
  await session.close();
});

s.test("a guest that throws away the first announcement, as one that opens its port again does, is announced to once more", async () => {
  await using server = await socketServer((socket) => {
    let thrownAway = 0;
    socket.on("data", function first(chunk) {
      thrownAway += chunk.length;
      if (thrownAway < ANNOUNCEMENT_BYTES) return;
      socket.off("data", first);
      yamuxOver(socket, { role: "server" }).onStream = (stream) => stream.pipe(stream);
    });
  });
  const connection = await connectSerial(server.endpoint, silentCall());
  assert.ok(await works(connection));
  await connection.close();
});

s.test("a second process waits until the first lets go of the port", async () => {
  await using guest = await world();
  guest.boot();
  const first = await connectSerial(guest.endpoint, silentCall());
  const second = connectSerial(guest.endpoint, silentCall());
  assert.ok(await works(first));
  await first.close();
  const connection = await second;
  assert.ok(await works(connection));
  await connection.close();
});

for (const side of ["toGuest", "toHost"] as const) {
  for (const noticed of [true, false]) {
    s.test(
      `a connection lost at any byte ${side === "toGuest" ? "to the guest" : "to the host"}, ${noticed ? "seen" : "unseen"} by it, is followed by one that works`,
      async () => {
        await using guest = await world();
        guest.boot();
        const whole = await connectSerial(guest.endpoint, silentCall());
        assert.ok(await works(whole));
        const length = guest.serial.sent[side];
        await whole.close();
        assert.ok(length >= 48 + 14);
        for (let cut = 1; cut <= length; cut += 1) {
          guest.limits.push({ [side]: cut, noticed });
          const lost = await connectSerial(guest.endpoint, silentCall()).catch((error) => assert.is(codeOf(error), "AGENT_LOST"));
          if (lost) {
            await works(lost);
            await lost.close();
          }
          const connection = await connectSerial(guest.endpoint, silentCall());
          assert.ok(await works(connection), `cut at ${cut} of ${length}`);
          await connection.close();
        }
      },
      { timeoutMs: 120_000 },
    );
  }
}

s.test("the end of the socket is the end of the connection, with AGENT_LOST", async () => {
  let socket: Socket | undefined;
  await using server = await socketServer((accepted) => {
    socket = accepted;
    yamuxOver(accepted, { role: "server" }).onStream = (stream: Duplex) => stream.pipe(stream);
  });
  const connection = await connectSerial(server.endpoint, silentCall());
  socket?.destroy();
  assert.is(codeOf(await connection.closed), "AGENT_LOST");
  await connection.close();
});

s.test("a guest that breaks the protocol ends the connection with GUEST_PROTOCOL", async () => {
  let socket: Socket | undefined;
  await using server = await socketServer((accepted) => {
    socket = accepted;
    yamuxOver(accepted, { role: "server" });
  });
  const connection = await connectSerial(server.endpoint, silentCall());
  socket?.write(Buffer.alloc(12, 0xff));
  assert.is(codeOf(await connection.closed), "GUEST_PROTOCOL");
});

s.test("a guest that floods the host without ever answering costs no memory, and ends with the caller's patience", async () => {
  const noise = Buffer.alloc(1 << 20, Buffer.from("0002000200000000", "hex")); // echoes of pings that nobody sent
  let sent = 0;
  await using server = await socketServer((socket) => {
    const more = () => {
      while (socket.write(noise)) sent += noise.length;
      sent += noise.length;
    };
    socket.on("drain", more);
    more();
  });
  const control = new AbortController();
  const before = process.memoryUsage().arrayBuffers;
  const connecting = connectSerial(server.endpoint, silentCall(control.signal)).catch(codeOf);
  while (sent < 100 << 20) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(process.memoryUsage().arrayBuffers - before < 50 << 20);
  control.abort();
  assert.is(await connecting, "ABORTED");
});

s.test("the wait for a silent guest ends when the caller's signal fires, and the socket is closed", async () => {
  const closed: Promise<unknown>[] = [];
  await using server = await socketServer((socket) => {
    closed.push(once(socket.resume(), "close"));
  });
  const control = new AbortController();
  const connecting = connectSerial(server.endpoint, silentCall(control.signal)).catch(codeOf);
  while (closed.length === 0) await new Promise((resolve) => setImmediate(resolve));
  control.abort();
  assert.is(await connecting, "ABORTED");
  await closed[0];
  assert.is(await connectSerial(server.endpoint, silentCall(AbortSignal.abort())).catch(codeOf), "ABORTED");
});

s.test("what cannot be connected to is named: no socket, one that closes, a path too long, another kind", async () => {
  await using server = await socketServer((socket) => socket.destroy());
  const kinds: [AgentEndpoint, string][] = [
    [{ kind: "serial", path: join(server.directory, "none") }, "AGENT_LOST"],
    [server.endpoint, "AGENT_LOST"],
    [{ kind: "serial", path: `/${"x".repeat(107)}` }, "INVALID_INPUT"],
    [{ kind: "unix", path: "/x" }, "UNSUPPORTED"],
  ];
  for (const [endpoint, code] of kinds) assert.is(await connectSerial(endpoint, silentCall()).catch(codeOf), code);
});

s.run();
