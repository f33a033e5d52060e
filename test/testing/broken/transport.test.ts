import { join } from "node:path";
import { type Duplex, duplexPair, PassThrough } from "node:stream";
import type { Transport, TransportConnection } from "tapvisor/plugin";
import { transportSerial } from "tapvisor/plugins/transport-serial";
import { acceptSessions } from "tapvisor/protocol";
import { type TransportFixture, transportSuite } from "tapvisor/testing";
import { fakeChardev } from "../../plugins/transport-serial/support/chardev.ts";
import { serialPort } from "../../protocol/yamux/support/serial-port.ts";
import { providerOf } from "../../support/fake-guest.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { type Defects, expectCaught } from "./expect-caught.ts";

const s = suite("transportSuite against broken transports");

type Make = () => Promise<TransportFixture>;

const amended =
  (amend: (transport: Transport) => Transport): Make =>
  async () => {
    const directory = await tempDirectory();
    const serial = serialPort();
    const chardev = await fakeChardev(join(directory.path, "port"), serial);
    const die = async () => {
      serial.close();
      await chardev[Symbol.asyncDispose]();
    };
    return {
      transport: amend(await providerOf<Transport>(transportSerial(), "transport", "serial")),
      endpoint: chardev.endpoint,
      boot() {
        acceptSessions(serial.port, (session) => {
          session.onStream = (stream) => {
            stream.on("error", () => {}).pipe(stream);
          };
        }).catch(() => {});
      },
      die,
      async [Symbol.asyncDispose]() {
        await die();
        await directory[Symbol.asyncDispose]();
      },
    };
  };
const connection = (amend: (honest: TransportConnection) => Partial<TransportConnection>): Make =>
  amended((transport) => ({
    ...transport,
    connect: async (...args) => {
      const honest = await transport.connect(...args);
      const { openStream, closed, close } = honest;
      return { openStream, closed, close, ...amend(honest) };
    },
  }));
/** A stream of the honest connection behind one that does something to the bytes on their way. */
const through = (put: (near: Duplex, far: Duplex) => void) =>
  connection((honest) => ({
    openStream: async () => {
      const far = await honest.openStream();
      const [near, inner] = duplexPair() as [Duplex, Duplex];
      for (const each of [far, near, inner]) each.on("error", () => {});
      far.pipe(inner);
      put(inner, far);
      return near;
    },
  }));

const defects: Defects<Make> = {
  "takes any endpoint": [
    /another is UNSUPPORTED/,
    amended((t) => ({ ...t, connect: (_endpoint, call) => t.connect({ kind: "serial", path: "/nonexistent/s" }, call) })),
  ],
  "does not name the endpoint it takes": [/names the kinds/, amended((t) => ({ ...t, endpoints: [] }))],
  "connects before the guest answers": [
    /answers later/,
    amended((t) => ({
      ...t,
      connect: async () => ({ openStream: async () => new PassThrough(), closed: new Promise(() => {}), close: async () => {} }),
    })),
  ],
  "gives up on a guest that still boots": [
    /answers later/,
    amended((t) => ({ ...t, connect: (endpoint) => t.connect(endpoint, { signal: AbortSignal.timeout(1), log: undefined as never }) })),
  ],
  "does not look at the signal of connect": [
    /ends when its signal fires/,
    amended((t) => ({ ...t, connect: (endpoint, call) => t.connect(endpoint, { ...call, signal: AbortSignal.timeout(10_000) }) })),
  ],
  "drops the last byte": [
    /every byte/,
    through((near, far) => near.on("data", (chunk: Buffer) => far.write(chunk.subarray(0, -1))).on("end", () => far.end())),
  ],
  "takes bytes for text": [
    /every byte/,
    through((near, far) => near.on("data", (chunk: Buffer) => far.write(chunk.toString())).on("end", () => far.end())),
  ],
  "closes both halves when one is ended": [
    /writing half/,
    through((near, far) => near.on("data", (chunk: Buffer) => far.write(chunk)).on("end", () => far.destroy())),
  ],
  "never ends a stream": [/writing half/, through((near, far) => near.on("data", (chunk: Buffer) => far.write(chunk)))],
  "keeps all that nobody reads": [
    /makes the writer wait/,
    through((near, far) => near.on("data", (chunk: Buffer) => far.write(chunk)).on("end", () => far.end())),
  ],
  "carries all streams in one": [
    /independent/,
    connection((honest) => {
      let only: Promise<Duplex> | undefined;
      return {
        openStream: () => {
          only ??= honest.openStream();
          return only;
        },
      };
    }),
  ],
  "never settles closed": [/^broken: closed/, connection(() => ({ closed: new Promise(() => {}) }))],
  "settles closed while it is open": [/closed is open/, connection(() => ({ closed: Promise.resolve(undefined) }))],
  "rejects closed": [
    /closed settles/,
    connection((honest) => {
      const closed = honest.closed.then(() => Promise.reject(new Error("gone")));
      closed.catch(() => {});
      return { closed };
    }),
  ],
  "opens streams after its end": [
    /closed is open/,
    connection((honest) => ({ openStream: () => honest.openStream().catch(() => new PassThrough()) })),
  ],
  "leaves its streams open at close": [
    /closed is open/,
    connection((honest) => ({ openStream: () => honest.openStream().then(() => new PassThrough()) })),
  ],
  "connects once only": [
    /connected to again/,
    amended((t) => {
      let connected = false;
      return {
        ...t,
        connect: async (...args) => {
          if (connected) throw new Error("connected already");
          connected = true;
          return t.connect(...args);
        },
      };
    }),
  ],
};

expectCaught(s, defects, (name, make, options) => transportSuite(name, make, options));

s.run();
