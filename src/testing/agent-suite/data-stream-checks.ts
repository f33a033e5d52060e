import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { AgentClient, GuestProcessId } from "../../contracts/agent.ts";
import type { GuestInput, GuestOutput } from "../../contracts/agent-streams.ts";
import { begun, isPending, rejects } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { type AgentWorld, unlessIdle } from "./fixture.ts";

/** More than the pipes and windows on the way hold, bytes. */
const MORE_THAN_WINDOWS = 3 * 1024 * 1024;

/** The standard streams where the guest streams them; a client without them has nothing to keep. */
export function dataStreamChecks(checkIn: (behaviour: string, body: (world: AgentWorld) => Promise<void>) => void): void {
  const checkStreams = (behaviour: string, body: (world: AgentWorld) => Promise<void>) =>
    checkIn(behaviour, async (world) => {
      if (world.client.openOutput) await body(world);
    });

  checkStreams("what is streamed into stdin is streamed out of stdout, every byte in order, more than the windows hold", async (world) => {
    const process = await world.run("web", ["cat"]);
    const payload = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)), randomBytes(MORE_THAN_WINDOWS)]);
    const input = await openInput(world.client, process);
    const writing = input.write(payload, signal()).then(() => input.end(signal()));
    const [received] = await Promise.all([readToEnd(await openOutput(world.client, process)), writing]);
    assert.equal(Buffer.compare(received, payload), 0, "other bytes came back");
    assert.equal(await world.client.waitProcess(process, quietCall()), 0);
    await rejects(
      "a write to a closed stdin",
      openInput(world.client, process).then((late) => late.write(Buffer.from("late"), signal())),
      "AGENT_FAILED",
    );
  });

  checkStreams("output is streamed from before the start on, and to its end after the process's", async ({ client, create }) => {
    const process = await create("web", ["sh", "-c", "echo out; echo err >&2"]);
    const [stdout, stderr] = [await openOutput(client, process), await openOutput(client, process, "stderr")];
    const early = begun(stdout.read(signal()));
    assert.equal(await isPending(early), true, "there was output before the start");
    await client.startContainer("web", quietCall());
    assert.equal(Buffer.from(await early).toString(), "out\n");
    stdout.taken(4);
    assert.equal(await client.waitProcess(process, quietCall()), 0);
    assert.equal((await readToEnd(stdout)).length, 0);
    assert.equal((await readToEnd(stderr)).toString(), "err\n");
    assert.equal((await readToEnd(await openOutput(client, process))).length, 0, "the end again");
  });

  checkStreams("readers take turns, and one that is closed leaves to the next what it has not taken", async ({ client, run }) => {
    const process = await run("web", ["sh", "-c", "printf 0123456789; exec cat"]);
    const first = await openOutput(client, process);
    let seen = "";
    while (seen.length < 10) seen += Buffer.from(await first.read(signal())).toString();
    first.taken(3);
    const second = await openOutput(client, process);
    const waiting = begun(second.read(signal()));
    assert.equal(await unlessIdle(waiting), undefined, "two readers had the turn at once");
    first.close();
    await client.closeStdin(process, quietCall());
    const next = Buffer.from(await waiting);
    second.taken(next.length);
    assert.equal(Buffer.concat([next, await readToEnd(second)]).toString(), "3456789");
  });

  checkStreams("what a lost connection's reader had not taken, the next connection's gets", async ({ fixture, client, run }) => {
    const process = await run("web", ["sh", "-c", "printf abcdef; exec cat"]);
    const output = await openOutput(client, process);
    let seen = "";
    while (seen.length < 6) seen += Buffer.from(await output.read(signal())).toString();
    const pending = begun(rejects("a read that was pending", output.read(signal()), "AGENT_LOST"));
    await client.close();
    await pending;
    const next = await fixture.agent.connect(fixture.target, quietCall());
    try {
      await next.closeStdin(process, quietCall());
      assert.equal((await readToEnd(await openOutput(next, process))).toString(), "abcdef");
    } finally {
      await next.close();
    }
  });

  checkStreams("the end of a container is the end of its streams, and a container that is not there has none", async ({ client, run }) => {
    const process = await run("web", ["cat"]);
    const output = await openOutput(client, process);
    const reading = begun(readToEnd(output));
    await client.removeContainer("web", quietCall());
    assert.equal((await reading).length, 0);
    await rejects("the output of a container that is gone", openOutput(client, process), "AGENT_FAILED");
    await rejects("the input of a container that is gone", openInput(client, process), "AGENT_FAILED");
  });
}

const signal = () => quietCall().signal;

async function openOutput(client: AgentClient, process: GuestProcessId, stream: "stdout" | "stderr" = "stdout"): Promise<GuestOutput> {
  const opened = await client.openOutput?.(process, stream, quietCall());
  assert.ok(opened, "no stream could be opened");
  return opened;
}

async function openInput(client: AgentClient, process: GuestProcessId): Promise<GuestInput> {
  const opened = await client.openInput?.(process, quietCall());
  assert.ok(opened, "no stream could be opened");
  return opened;
}

async function readToEnd(output: GuestOutput): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = await output.read(signal());
    if (chunk.length === 0) {
      output.close();
      return Buffer.concat(chunks);
    }
    chunks.push(chunk);
    output.taken(chunk.length);
  }
}
