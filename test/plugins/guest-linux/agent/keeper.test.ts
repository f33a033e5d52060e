import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { announcement, answer, encodeClock, encodeHeader, encodeRenewal, FLAG, newNonce, TYPE } from "tapvisor/protocol";
import * as assert from "uvu/assert";
import { KEEPER_SCRIPT } from "../../../../plugins/guest-linux/agent/identity/keeper-script.ts";
import { suite } from "../../../support/suite.ts";

const s = suite("guest agent: what keeps the port of a saved guest");

/** In the place of the renewer's own, which would change this machine: they say what they were given. */
const STUBS = String.raw`
$| = 1;
sub clock { 1000 }
sub name { print STDERR "name @_\n"; return "ok" }
sub renew { print STDERR "renew @_\n"; return $_[0] =~ /^ff/ ? "cannot add entropy: refused" : "ok" }
`;
const OLD = 7;
const NEW = 9;
const IDENTITY = { entropy: "0a".repeat(64), machineId: "0123456789abcdef0123456789abcdef", hostname: "clone-1.x" };
const RENEWAL = encodeRenewal({ identity: IDENTITY, clock: 1_700_000_000_123_456_000n });
const data = (id: number, flags: number, bytes: Buffer | string) =>
  Buffer.concat([encodeHeader(TYPE.data, flags, id, Buffer.byteLength(bytes)), Buffer.from(bytes)]);
const OK = '{"ok":true}\n';
const ANSWER = '{"ok":true,"heldNs":0}\n';

interface Keeper extends AsyncDisposable {
  /** The host's end of the port. */
  readonly port: Duplex;
  /** Asserts that these are the next bytes for the host. */
  says(bytes: Buffer): Promise<void>;
  /** What it left for the agent at its end, and what the stubs were given. */
  ended(): Promise<{ readonly said: string; readonly did: readonly string[] }>;
}

async function keeper(): Promise<Keeper> {
  const child: ChildProcess = spawn("perl", ["-e", `${STUBS}${KEEPER_SCRIPT}keep(${OLD});`], {
    stdio: ["ignore", "pipe", "pipe", "pipe"],
  });
  const [said, did] = [gather(child.stdout), gather(child.stderr)];
  const port = child.stdio[3] as unknown as Duplex;
  const closed = once(child, "close");
  const here: Keeper = {
    port,
    async says(bytes) {
      let seen: Buffer = Buffer.alloc(0);
      while (seen.length < bytes.length) {
        const chunk = port.read(Math.min(bytes.length - seen.length, port.readableLength || 1)) as Buffer | null;
        if (chunk) seen = Buffer.concat([seen, chunk]);
        else await once(port, "readable");
      }
      assert.is(seen.toString("latin1"), bytes.toString("latin1"));
    },
    async ended() {
      await closed;
      return { said: said().toString("latin1"), did: did().toString("latin1").trim().split("\n").filter(Boolean) };
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await closed;
    },
  };
  await here.says(data(OLD, 0, OK));
  return here;
}

function gather(stream: NodeJS.ReadableStream | null): () => Buffer {
  const chunks: Buffer[] = [];
  stream?.on("data", (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks);
}

s.test("it answers an announcement and a renewal, however they are cut, and hands on what comes then", async () => {
  const nonce = newNonce();
  const sent = [announcement(nonce), encodeHeader(TYPE.window, FLAG.syn, NEW, 0), data(NEW, 0, RENEWAL)];
  for (const size of [1, 7, 96, 4096]) {
    await using kept = await keeper();
    const bytes = Buffer.concat(sent);
    for (let at = 0; at < bytes.length; at += size) kept.port.write(bytes.subarray(at, at + size));
    await kept.says(answer(nonce));
    await kept.says(data(NEW, FLAG.ack, ANSWER));
    kept.port.write(data(NEW, 0, encodeClock(5n)));
    await kept.says(data(NEW, 0, ANSWER));
    kept.port.write(encodeHeader(TYPE.data, FLAG.fin, NEW, 0));
    await kept.says(encodeHeader(TYPE.data, FLAG.fin, NEW, 0));
    const next = encodeHeader(TYPE.window, FLAG.syn, NEW + 2, 0);
    kept.port.write(next);
    const { said, did } = await kept.ended();
    assert.is(said, `passed 1\n${next.toString("latin1")}`);
    const { entropy, hostname, machineId } = IDENTITY;
    assert.equal(did, [`name ${hostname} ${machineId}`, `renew ${entropy} 512 1700000000123456000 1000`, "renew  0 5 1000"]);
  }
});

s.test("the first bytes may come with the frame that opens the stream", async () => {
  await using kept = await keeper();
  const nonce = newNonce();
  kept.port.write(Buffer.concat([announcement(nonce), data(NEW, FLAG.syn, RENEWAL)]));
  await kept.says(Buffer.concat([answer(nonce), data(NEW, FLAG.ack, ANSWER)]));
});

s.test("what the old session still says is passed over, and an announcement is found behind anything, and once more", async () => {
  await using kept = await keeper();
  kept.port.write(encodeHeader(TYPE.goAway, 0, 0, 0));
  kept.port.write(encodeHeader(TYPE.window, FLAG.fin, OLD, 0));
  for (const nonce of [newNonce(), newNonce()]) {
    kept.port.write(Buffer.concat([Buffer.from("half"), announcement(nonce)]));
    await kept.says(answer(nonce));
  }
});

s.test("whatever else comes is the agent's: every byte, and whether a session has begun", async () => {
  const nonce = newNonce();
  const open = encodeHeader(TYPE.window, FLAG.syn, NEW, 0);
  const bad = (line: string) => data(NEW, 0, line);
  const text = RENEWAL.toString();
  const cases: readonly (readonly [Buffer, string, Buffer])[] = [
    [Buffer.from("PRI * HTTP/2.0\r\n"), "0", Buffer.from("PRI * HTTP/2.0\r\n")],
    [encodeHeader(TYPE.ping, FLAG.syn, 0, 1), "0", encodeHeader(TYPE.ping, FLAG.syn, 0, 1)],
    ...[
      Buffer.concat([open, bad("PRI * HTTP/2.0\r\n\r\n")]),
      Buffer.concat([open, bad(text.replace("0a0a", "0A0a"))]),
      Buffer.concat([open, bad(text.replace("clone-1.x", 'a\\"b'))]),
      Buffer.concat([open, bad(text.replace("clone-1.x", ""))]),
      Buffer.concat([open, bad(text.replace("clone-1.x", "x".repeat(65)))]),
      Buffer.concat([open, bad(text.replace('"17', '"-7'))]),
      Buffer.concat([open, bad(text.replace('"clock"', '"clack"'))]),
      Buffer.concat([open, bad(`${text}${text}`)]),
      Buffer.concat([open, bad("x")]),
      Buffer.concat([open, encodeHeader(TYPE.data, 0, NEW, 1_000_000)]),
      Buffer.concat([open, encodeHeader(TYPE.window, FLAG.rst, NEW, 0)]),
      encodeHeader(TYPE.ping, FLAG.syn, 0, 1),
    ].map((bytes) => [Buffer.concat([announcement(nonce), bytes]), "1", bytes] as const),
  ];
  for (const [sent, begun, left] of cases) {
    await using kept = await keeper();
    kept.port.write(sent);
    const { said, did } = await kept.ended();
    assert.is(said, `passed ${begun}\n${left.toString("latin1")}`);
    assert.equal(did, []);
  }
});

s.test("a renewal that fails is answered with the reason", async () => {
  await using kept = await keeper();
  const nonce = newNonce();
  const renewal = encodeRenewal({ identity: { ...IDENTITY, entropy: "ff".repeat(64) }, clock: 1n });
  kept.port.write(Buffer.concat([announcement(nonce), data(NEW, FLAG.syn, renewal)]));
  const refusal = '{"status":"INTERNAL","text":"cannot add entropy: refused"}\n';
  await kept.says(Buffer.concat([answer(nonce), data(NEW, FLAG.ack, refusal)]));
});

s.run();
