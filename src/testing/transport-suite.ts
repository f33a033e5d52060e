import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { buffer } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import type { AgentEndpoint } from "../contracts/hypervisor.ts";
import type { Transport, TransportConnection } from "../contracts/transport.ts";
import { checksOn, type SuiteOptions } from "./conformance/checks.ts";
import { begun, failure, firedCall, isPending, rejects } from "./conformance/expect.ts";
import { quietCall } from "./quiet-call.ts";

/** A transport and the far end of one endpoint. */
export interface TransportFixture extends AsyncDisposable {
  readonly transport: Transport;
  /** Where the host connects to; nothing answers there before `boot`. */
  readonly endpoint: AgentEndpoint;
  /**
   * From here on the guest answers: on each stream it sends back what it gets, no faster than that is read, and ends the stream when the
   * host has ended it. For the next connections as well.
   */
  boot(): void | Promise<void>;
  /** The guest and its end of the endpoint go for good, as when its VM dies. */
  die(): void | Promise<void>;
}

/** More than any transport may keep for a reader that does not read, bytes. */
const MOST_UNREAD_BYTES = 32 * 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;

/** How long a full stream must take nothing for it to count as full, ms. */
const FULL_AFTER_MS = 200;

/**
 * What every transport must do, as tests.
 *
 * @example
 * transportSuite("my transport", makeFixture, { suite });
 */
export function transportSuite(name: string, make: () => Promise<TransportFixture>, options: SuiteOptions): void {
  const check = checksOn(name, make, options);
  /** With a guest that answers and a connection to it. */
  const checkConnected = (behaviour: string, body: (connection: TransportConnection, fixture: TransportFixture) => Promise<void>) =>
    check(behaviour, async (fixture) => {
      await fixture.boot();
      const connection = await fixture.transport.connect(fixture.endpoint, quietCall());
      try {
        await body(connection, fixture);
      } finally {
        await connection.close();
      }
    });

  check("it names the kinds of endpoint it takes; another is UNSUPPORTED", async ({ transport, endpoint }) => {
    assert.ok(transport.endpoints.includes(endpoint.kind));
    const others: AgentEndpoint[] = [
      { kind: "serial", path: "/nonexistent/s" },
      { kind: "hybrid-vsock", path: "/nonexistent/s", port: 1 },
      { kind: "unix", path: "/nonexistent/s" },
      { kind: "memory", sandbox: "none" },
    ];
    for (const other of others.filter(({ kind }) => !transport.endpoints.includes(kind))) {
      await rejects(`connect() to ${other.kind}`, transport.connect(other, quietCall()), "UNSUPPORTED");
    }
  });

  check("connect() waits for a guest that answers later", async (fixture) => {
    const connecting = begun(fixture.transport.connect(fixture.endpoint, quietCall()));
    assert.equal(await isPending(connecting), true, "connect() resolved although nobody answered");
    await fixture.boot();
    await (await connecting).close();
  });

  check("connect() ends when its signal fires, and can be tried again", async (fixture) => {
    await failure("connect() with a fired signal", fixture.transport.connect(fixture.endpoint, firedCall()));
    const caller = new AbortController();
    const connecting = begun(fixture.transport.connect(fixture.endpoint, quietCall({ signal: caller.signal })));
    assert.equal(await isPending(connecting), true, "connect() resolved although nobody answered");
    caller.abort();
    await failure("connect() that was given up", connecting);
    await fixture.boot();
    const connection = await fixture.transport.connect(fixture.endpoint, quietCall());
    await echoes(connection, Buffer.from("later"));
    await connection.close();
  });

  check("connect() to an end that has gone for good fails", async (fixture) => {
    await fixture.boot();
    await fixture.die();
    await rejects("connect()", fixture.transport.connect(fixture.endpoint, quietCall({ timeoutMs: 2_000 })));
  });

  checkConnected("a stream carries every byte, both ways", async (connection) => {
    await echoes(connection, Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)));
    await echoes(connection, Buffer.alloc(0));
    await echoes(connection, randomBytes(1024 * 1024));
  });

  checkConnected("streams are independent of each other", async (connection) => {
    const payloads = Array.from({ length: 8 }, () => randomBytes(100_000));
    const dropped = await connection.openStream();
    dropped.on("error", () => {});
    dropped.write("never read");
    await Promise.all([...payloads.map((payload) => echoes(connection, payload)), Promise.resolve().then(() => dropped.destroy())]);
    await echoes(connection, Buffer.from("after a stream was dropped"));
  });

  checkConnected("ending the writing half leaves the reading half open until the guest ends it", async (connection) => {
    const stream = await connection.openStream();
    const payload = randomBytes(300_000);
    stream.end(payload);
    await once(stream, "finish");
    assert.deepEqual(await buffer(stream), payload);
  });

  checkConnected("a reader that does not read makes the writer wait; nothing is lost", async (connection) => {
    const stream = await connection.openStream();
    const sent: Buffer[] = [];
    while (sent.length * CHUNK_BYTES < MOST_UNREAD_BYTES) {
      const chunk = randomBytes(CHUNK_BYTES);
      sent.push(chunk);
      if (!stream.write(chunk) && (await isFull(stream))) break;
    }
    assert.ok(sent.length * CHUNK_BYTES < MOST_UNREAD_BYTES, "the writer was never told to wait");
    const received = begun(buffer(stream));
    stream.end();
    assert.equal(Buffer.compare(await received, Buffer.concat(sent)), 0);
  });

  checkConnected("a stream that waits does not hold up another", async (connection) => {
    const full = await connection.openStream();
    full.on("error", () => {});
    for (let written = 0; written < MOST_UNREAD_BYTES; written += CHUNK_BYTES) {
      if (!full.write(randomBytes(CHUNK_BYTES)) && (await isFull(full))) break;
    }
    await echoes(connection, Buffer.from("past the full one"));
    full.destroy();
  });

  checkConnected("closed is open until close(), which can be repeated, ends the streams and refuses new ones", async (connection) => {
    const stream = await connection.openStream();
    const ended = closeOf(stream);
    assert.equal(await isPending(connection.closed), true, "closed settled while the connection was open");
    await connection.close();
    await connection.close();
    await connection.closed;
    await ended;
    await failure("openStream() after close()", connection.openStream());
  });

  checkConnected("closed settles and the streams end when the guest goes", async (connection, fixture) => {
    const stream = await connection.openStream();
    const ended = closeOf(stream);
    await fixture.die();
    await connection.closed;
    await ended;
    await failure("openStream() after the guest has gone", connection.openStream());
  });

  checkConnected("the endpoint can be connected to again after close()", async (connection, { transport, endpoint }) => {
    await echoes(connection, Buffer.from("first"));
    await connection.close();
    const next = await transport.connect(endpoint, quietCall());
    await echoes(next, Buffer.from("second"));
    await next.close();
  });
}

async function echoes(connection: TransportConnection, payload: Buffer): Promise<void> {
  const stream = await connection.openStream();
  stream.end(payload);
  const received = await buffer(stream);
  assert.equal(received.length, payload.length);
  assert.equal(Buffer.compare(received, payload), 0, "other bytes came back");
}

/** Whether a stream that asked its writer to wait goes on asking. */
async function isFull(stream: Duplex): Promise<boolean> {
  const control = new AbortController();
  const drained = once(stream, "drain", { signal: control.signal }).then(
    () => false,
    () => true,
  );
  const full = await Promise.race([drained, delay(FULL_AFTER_MS, true, { signal: control.signal })]);
  control.abort();
  return full;
}

/** Resolves when the stream is over, by an end or by an error. */
function closeOf(stream: Duplex): Promise<void> {
  stream.resume();
  return new Promise((resolve) => {
    stream.on("error", () => {}).once("close", resolve);
  });
}
