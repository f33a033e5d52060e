import type { Duplex } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import * as assert from "uvu/assert";
import { connect } from "../../../plugins/agent-grpc/connect.ts";
import type { GuestIdentity } from "../../../src/contracts/agent-identity.ts";
import { parseClock, parseRenewal } from "../../../src/protocol/data-stream/index.ts";
import { quietCall } from "../../../src/testing/quiet-call.ts";
import { suite } from "../../support/suite.ts";
import { failure } from "./expect.ts";
import { connected, fakeGuest, grpcGuest } from "./fake-guest.ts";

const s = suite("agent-grpc: a guest that is saved");

const IDENTITY: GuestIdentity = { entropy: new Uint8Array(64).fill(0xab), machineId: "0123456789abcdef".repeat(2), hostname: "web" };

/** A guest that goes on from a saved one: each line is answered by the next of the answers; the last one again and again. */
async function renewable(...answers: readonly (string | ((stream: Duplex) => void))[]) {
  const lines: string[] = [];
  const guest = await fakeGuest((stream) => {
    stream.on("data", (chunk: Buffer) => {
      lines.push(...chunk.toString().split("\n").filter(Boolean));
      const next = answers[Math.min(lines.length, answers.length) - 1] ?? "";
      if (typeof next === "string") stream.write(next);
      else next(stream);
    });
  });
  const client = await connect({ ...guest.target, goesOn: true }, quietCall());
  const dispose = async () => {
    await client.close();
    await guest[Symbol.asyncDispose]();
  };
  return { guest, client, lines, [Symbol.asyncDispose]: dispose };
}

const held = (ms: number) => `{"ok":true,"heldNs":${Math.round(ms * 1e6)}}\n`;
const late = (ms: number, answer: string) => (stream: Duplex) => void delay(ms).then(() => stream.write(answer));

s.test("connect() to a guest that goes on asks it nothing, and a renewal is one line on one stream", async () => {
  await using here = await renewable(held(0));
  assert.equal(here.guest.files(), [], "no channel is made before it is needed");
  const before = Date.now();
  const { clockErrorMs } = (await here.client.identity?.renew(IDENTITY, quietCall())) ?? { clockErrorMs: -1 };
  assert.ok(clockErrorMs >= 0, `${clockErrorMs} ms`);
  assert.is(here.lines.length === 1, clockErrorMs <= 50, "a machine that stood still is asked again");
  const asked = parseRenewal(here.lines[0] ?? "");
  assert.equal(asked?.identity, { entropy: "ab".repeat(64), machineId: IDENTITY.machineId, hostname: "web" });
  const sent = Number((asked?.clock ?? 0n) / 1_000_000n);
  assert.ok(sent >= before - 5 && sent <= Date.now() + 5, `${sent}`);
});

s.test(
  "what the guest needed itself is no error of the clock; a round trip that says too little is made again, three at most",
  async () => {
    // Only what cannot depend on how busy this machine is: 300 ms are far from what is held, and from nothing.
    await using slow = await renewable((stream) => {
      const came = performance.now();
      void delay(300).then(() => stream.write(held(performance.now() - came)));
    });
    const told = await slow.client.identity?.renew(IDENTITY, quietCall());
    assert.ok((told?.clockErrorMs ?? 1000) < 250, `${told?.clockErrorMs} ms`);

    await using unsure = await renewable(late(300, held(0)), held(0));
    assert.ok(((await unsure.client.identity?.renew(IDENTITY, quietCall()))?.clockErrorMs ?? 1000) < 250);
    assert.ok(unsure.lines.length >= 2);
    assert.is(typeof parseClock(unsure.lines[1] ?? ""), "bigint");

    await using never = await renewable(late(80, held(0)));
    const left = await never.client.identity?.renew(IDENTITY, quietCall());
    assert.ok((left?.clockErrorMs ?? 0) >= 70, `${left?.clockErrorMs} ms`);
    assert.is(never.lines.length, 3);
  },
);

s.test("a guest that says it had the line longer than the round trip gets nothing for it", async () => {
  await using liar = await renewable(late(80, held(10_000)));
  assert.ok(((await liar.client.identity?.renew(IDENTITY, quietCall()))?.clockErrorMs ?? 0) >= 70);
});

s.test("an answer that is none is GUEST_PROTOCOL, a refusal AGENT_FAILED, and a reset too", async () => {
  for (const nonsense of [
    "nonsense\n",
    "{}\n",
    '{"ok":true}\n',
    '{"ok":true,"heldNs":-1}\n',
    '{"ok":true,"heldNs":"1"}\n',
    "x".repeat(9000),
  ]) {
    await using here = await renewable(nonsense);
    await failure("GUEST_PROTOCOL", here.client.identity?.renew(IDENTITY, quietCall()) ?? Promise.resolve());
  }
  await using refusing = await renewable('{"status":"INTERNAL","text":"cannot add \\u001b[31m entropy"}\n');
  const error = await failure("AGENT_FAILED", refusing.client.identity?.renew(IDENTITY, quietCall()) ?? Promise.resolve());
  assert.equal(error.data, { method: "Renew", status: "INTERNAL" });
  assert.not.match(error.message, "\u001b");
  await using ending = await renewable((stream) => void stream.end());
  await failure("GUEST_PROTOCOL", ending.client.identity?.renew(IDENTITY, quietCall()) ?? Promise.resolve());
});

s.test("a guest that falls silent ends with the caller, one that dies is AGENT_LOST", async () => {
  await using silent = await renewable("");
  const call = quietCall({ signal: AbortSignal.timeout(50) });
  await failure("ABORTED", silent.client.identity?.renew(IDENTITY, call) ?? Promise.resolve());
  await using dying = await renewable(() => dying.guest.die());
  await failure("AGENT_LOST", dying.client.identity?.renew(IDENTITY, quietCall()) ?? Promise.resolve());
});

s.test("a guest that does not offer it has no identity", async () => {
  for (const kata of [true, false]) {
    await using guest = await grpcGuest({}, { kata });
    await using client = await connected(guest);
    assert.is(client.identity, undefined);
  }
});

s.run();
