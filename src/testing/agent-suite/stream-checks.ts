import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { CheckOn } from "../conformance/checks.ts";
import { begun, failure, isPending, rejects } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { dataStreamChecks } from "./data-stream-checks.ts";
import { type AgentFixture, type AgentWorld, readAll, unlessIdle, withSandbox, writeAll } from "./fixture.ts";

/** More than the pipes on the way hold, bytes. */
const MORE_THAN_PIPES = 512 * 1024;

/** The standard streams of a container's process. */
export function streamChecks(check: CheckOn<AgentFixture>): void {
  const checkIn = (behaviour: string, body: (world: AgentWorld) => Promise<void>) =>
    check(behaviour, (fixture) => withSandbox(fixture, body));

  checkIn("what goes into stdin comes out of stdout, every byte in order, more than the pipes hold", async ({ client, run }) => {
    const process = await run("web", ["cat"]);
    const payload = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)), randomBytes(MORE_THAN_PIPES)]);
    const writing = writeAll(client, process, payload).then(() => client.closeStdin(process, quietCall()));
    const [received] = await Promise.all([readAll(client, process), writing]);
    assert.equal(received.length, payload.length);
    assert.equal(Buffer.compare(received, payload), 0, "other bytes came back");
    assert.equal(await client.waitProcess(process, quietCall()), 0);
  });

  checkIn("the end of a stream is empty, as often as it is read, also after the process's end", async ({ client, run }) => {
    const process = await run("web", ["sh", "-c", "echo out; echo err >&2"]);
    assert.equal(await client.waitProcess(process, quietCall()), 0);
    assert.equal((await readAll(client, process)).toString(), "out\n");
    assert.equal((await readAll(client, process, "stderr")).toString(), "err\n");
    assert.equal((await client.readStdout(process, 1024, quietCall())).length, 0);
    assert.equal((await client.readStderr(process, 1024, quietCall())).length, 0);
  });

  checkIn("a read gives at most what was asked for, and waits when there is nothing", async ({ client, run }) => {
    const process = await run("web", ["cat"]);
    const caller = new AbortController();
    const waiting = begun(client.readStdout(process, 1024, quietCall({ signal: caller.signal })));
    assert.equal(await isPending(waiting), true, "a read of nothing ended");
    caller.abort();
    await failure("a read that was given up", waiting);
    await writeAll(client, process, Buffer.from("0123456789"));
    let received = "";
    while (received.length < 10) {
      const chunk = await client.readStdout(process, 3, quietCall());
      assert.ok(chunk.length >= 1 && chunk.length <= 3, `${chunk.length} bytes`);
      received += Buffer.from(chunk).toString();
    }
    assert.equal(received, "0123456789", "a read that was given up took bytes with it");
  });

  checkIn("closeStdin() is success twice, and a later write is AGENT_FAILED", async ({ client, run }) => {
    const process = await run("web", ["cat"]);
    for (let time = 0; time < 2; time++) await client.closeStdin(process, quietCall());
    assert.equal((await readAll(client, process)).length, 0);
    await rejects("a write to a closed stdin", client.writeStdin(process, Buffer.from("late"), quietCall()), "AGENT_FAILED");
    assert.equal(await client.waitProcess(process, quietCall()), 0);
  });

  checkIn("a process that does not read makes the writer wait, until its signal fires", async ({ client, run }) => {
    const process = await run("web", ["sleep", "60"]);
    const caller = new AbortController();
    const block = Buffer.alloc(32 * 1024);
    let taken = 0;
    let last: Promise<number> | undefined;
    for (let calls = 0; calls < 1_000; calls++) {
      last = begun(client.writeStdin(process, block, quietCall({ signal: caller.signal })));
      const more = await unlessIdle(last);
      if (more === undefined) break;
      taken += more;
    }
    assert.ok(taken < 1_000 * block.length, "the writer never had to wait");
    caller.abort();
    if (last) await failure("a write that was given up", last);
  });
  dataStreamChecks(checkIn);
}
