import { once } from "node:events";
import type { Duplex } from "node:stream";
import {
  AnswerScanner,
  acceptSessions,
  announcement,
  encodeHeader,
  FLAG,
  newNonce,
  TYPE,
  type YamuxSession,
  yamuxOver,
} from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { readAll } from "./support/pipes.ts";
import { type HostOptions, serialPort } from "./support/serial-port.ts";

const s = suite("yamux over a serial port");

/** A guest that answers each stream with what it got, and the port it serves. */
function guest() {
  const serial = serialPort();
  const sessions: YamuxSession[] = [];
  const served = acceptSessions(serial.port, (session) => {
    sessions.push(session);
    session.onStream = (stream) => stream.pipe(stream);
  });
  return {
    ...serial,
    sessions,
    [Symbol.asyncDispose]: async () => {
      serial.close();
      await served.catch(() => {}); // it may have been waiting to write
    },
  };
}

/** A host's side: announces and waits for the answer; undefined when the connection ends first. */
async function begin(pipe: Duplex): Promise<YamuxSession | undefined> {
  const nonce = newNonce();
  const scanner = new AnswerScanner(nonce);
  const behind = await new Promise<Buffer | undefined>((resolve) => {
    pipe.on("data", (chunk: Buffer) => {
      const rest = scanner.push(chunk);
      if (!rest) return;
      pipe.removeAllListeners("data").pause();
      resolve(rest);
    });
    pipe.once("close", () => resolve(undefined));
    pipe.write(announcement(nonce));
  });
  if (!behind) return undefined;
  const session = yamuxOver(pipe, { role: "client" });
  session.receive(behind);
  return session;
}

/** A conversation of a few frames; false when the connection ended within it. */
async function talk(session: YamuxSession): Promise<boolean> {
  if (session.ended) return false;
  const first = session.openStream();
  const second = session.openStream();
  const answers = Promise.all([readAll(first), readAll(second)]);
  first.end("a question of some length, so that it can be cut in many places");
  second.end(Buffer.alloc(100, "z"));
  const got = await answers.catch(() => undefined);
  if (!got) return false;
  assert.is(got[0].toString(), "a question of some length, so that it can be cut in many places");
  assert.ok(got[1].equals(Buffer.alloc(100, "z")));
  return (await session.ping().catch(() => -1)) >= 0;
}

async function converse(pipe: Duplex): Promise<boolean> {
  const session = await begin(pipe);
  return session !== undefined && (await talk(session));
}

for (const side of ["toGuest", "toHost"] as const) {
  for (const noticed of [true, false]) {
    s.test(
      `a host that goes at any byte ${side === "toGuest" ? "on the way to the guest" : "on the way to the host"} (${noticed ? "seen" : "unseen"} by the guest) can come back`,
      async () => {
        let length = 0;
        for (let cut = 1; length === 0 || cut <= length; cut += 1) {
          await using world = guest();
          if (length === 0) {
            assert.ok(await converse(world.connect()));
            length = world.sent[side];
            assert.ok(length > 300);
            continue;
          }
          const options: HostOptions = { [side]: cut, noticed };
          const pipe = world.connect(options);
          await converse(pipe);
          if (!pipe.destroyed) await once(pipe, "close");
          assert.ok(await converse(world.connect()), `cut at ${cut} of ${length}`);
        }
      },
      { timeoutMs: 120_000 },
    );
  }
}

s.test("several hosts that go at different bytes, one after the other, leave the port usable", async () => {
  await using world = guest();
  for (let round = 1; round < 120; round += 1) {
    const pipe = world.connect({ [round % 2 ? "toGuest" : "toHost"]: 3 * round, noticed: round % 3 === 0 });
    await converse(pipe);
    pipe.destroy();
  }
  assert.ok(await converse(world.connect()));
});

s.test("bytes that the old session still had on their way are discarded before the answer", async () => {
  await using world = guest();
  const pipe = world.connect({ toHost: 1000, noticed: false });
  const session = await begin(pipe);
  assert.ok(session);
  const stream = session.openStream();
  stream.write(Buffer.alloc(200_000, 9)); // comes back, and the host leaves in the middle of it
  await session.closed;
  assert.ok(await converse(world.connect()));
  assert.ok(world.sent.toHost > 60_000); // the rest of the old write did reach the new host
  assert.ok(world.sessions[0]?.ended);
});

s.test("an announcement ends the session before it, with its streams", async () => {
  await using world = guest();
  const first = await begin(world.connect({ noticed: false }));
  assert.ok(first);
  const stream = first.openStream();
  stream.write("x");
  await once(stream, "data");
  assert.ok(await converse(world.connect()));
  assert.ok(world.sessions[0]?.ended);
  assert.not(world.sessions[1]?.ended);
  assert.is(world.sessions.length, 2);
});

s.test("a read of 0 bytes that comes late, behind the next host's announcement, does not end its session", async () => {
  await using world = guest();
  const session = await begin(world.connect());
  assert.ok(session);
  for (let i = 0; i < 5; i += 1) {
    world.blink();
    assert.ok(await talk(session));
  }
  assert.is(world.sessions.length, 1);
});

s.test("a session ends when its host stays away, and at once when it had said go-away", async () => {
  await using world = guest();
  const pipe = world.connect();
  const lost = await begin(pipe);
  pipe.destroy();
  await world.sessions[0]?.closed;
  const closing = await begin(world.connect());
  assert.ok(lost && closing);
  await closing.close();
  const foreign = yamuxOver(world.connect(), { role: "client" });
  assert.ok(await talk(foreign));
  assert.is(world.sessions.length, 3);
  await foreign.close();
});

s.test("a foreign client that does not announce itself is served, and another one after it", async () => {
  await using world = guest();
  for (let i = 0; i < 3; i += 1) {
    const session = yamuxOver(world.connect(), { role: "client" });
    assert.ok(await talk(session));
    await session.close();
  }
  assert.ok(await converse(world.connect()));
});

s.test("an announcement that arrives in single bytes begins one session, not a foreign one first", async () => {
  await using world = guest();
  const pipe = world.connect();
  const nonce = newNonce();
  const scanner = new AnswerScanner(nonce);
  const answered = new Promise<void>((resolve) => pipe.on("data", (chunk: Buffer) => scanner.push(chunk) && resolve()));
  for (const byte of announcement(nonce)) pipe.write(Buffer.from([byte]));
  await answered;
  assert.is(world.sessions.length, 1);
});

s.test("a foreign client is served after a host that was seen to die within its announcement", async () => {
  for (const cut of [5, 36, 50, 95]) {
    await using world = guest();
    const pipe = world.connect({ toGuest: cut });
    await begin(pipe);
    const session = yamuxOver(world.connect(), { role: "client" });
    assert.ok(await talk(session), `cut at ${cut}`);
    await session.close();
  }
});

s.test("in a foreign client's session, content that looks like an announcement is content", async () => {
  await using world = guest();
  const pipe = world.connect();
  const forged = announcement(newNonce());
  const frames = [encodeHeader(TYPE.window, FLAG.syn, 1, 0), encodeHeader(TYPE.data, FLAG.fin, 1, forged.length), forged];
  const back: Buffer[] = [];
  pipe.on("data", (bytes: Buffer) => back.push(bytes));
  pipe.write(Buffer.concat(frames));
  while (!Buffer.concat(back).includes(forged)) await once(pipe, "data");
  assert.is(world.sessions.length, 1);
  assert.not(world.sessions[0]?.ended);
});

s.test("after a host that sent garbage, the next announcement begins a session all the same", async () => {
  for (const noticed of [true, false]) {
    await using world = guest();
    const pipe = world.connect({ noticed });
    pipe.write(Buffer.from("SSH-2.0-wrong-door\r\n"));
    await once(pipe, "data"); // go-away: protocol error
    pipe.destroy();
    assert.ok(await converse(world.connect()));
  }
});

s.test("the guest waits for a host without reading in a loop", async () => {
  let reads = 0;
  const serial = serialPort();
  const port = {
    write: serial.port.write,
    async *read() {
      for await (const chunk of serial.port.read(() => 0)) {
        reads += 1;
        yield chunk;
      }
    },
  };
  const served = acceptSessions(port, () => {});
  for (let i = 0; i < 50; i += 1) await new Promise((resolve) => setImmediate(resolve));
  assert.is(reads, 1);
  const session = await begin(serial.connect());
  assert.ok(session);
  await session.close();
  serial.close();
  await served.catch(() => {});
});

s.run();
