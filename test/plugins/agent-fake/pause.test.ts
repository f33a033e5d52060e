import { constants } from "node:os";
import { onceAborted } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { rejects } from "../../support/rejects.ts";
import { suite } from "../../support/suite.ts";
import { growingGuest } from "../../testing/support/growing-guest.ts";

const s = suite("agent-fake pause");
const { SIGTERM, SIGUSR1, SIGKILL } = constants.signals;

const settled = () => new Promise((resolve) => setImmediate(resolve));

s.test("a paused program gets no further than its next write, and ends after it has been resumed", async () => {
  await using w = await growingGuest();
  let go: () => void = () => {};
  let written = 0;
  w.world.programs.worker = async ({ write }) => {
    await new Promise<void>((resolve) => {
      go = resolve;
    });
    await write("a");
    written++;
    await write("b");
    written++;
    return 3;
  };
  const process = await w.running("c1", ["worker"]);
  const ended = w.client.waitProcess(process, quietCall());
  await w.client.pauseContainer("c1", quietCall());
  assert.is(w.snapshot().guest.containers[0]?.paused, true);
  go();
  await settled();
  assert.is(written, 0);
  await w.client.resumeContainer("c1", quietCall());
  assert.is(await ended, 3);
  assert.is(written, 2);
  assert.is(w.snapshot().guest.containers[0]?.paused, false);
});

s.test("a paused program that is done does not end before it is resumed, whether it returns or throws", async () => {
  await using w = await growingGuest();
  for (const [id, exitCode] of [
    ["returns", 0],
    ["throws", 1],
  ] as const) {
    let go: () => void = () => {};
    w.world.programs[id] = async () => {
      await new Promise<void>((resolve) => {
        go = resolve;
      });
      if (exitCode) throw new Error("no");
      return 0;
    };
    const process = await w.running(id, [id]);
    await w.client.pauseContainer(id, quietCall());
    go();
    await settled();
    assert.is(w.snapshot().guest.containers.find((each) => each.id === id)?.state, "running");
    await w.client.resumeContainer(id, quietCall());
    assert.is(await w.client.waitProcess(process, quietCall()), exitCode);
  }
});

s.test("input waits for a paused program", async () => {
  await using w = await growingGuest();
  const process = await w.running("c1", ["cat"]);
  await w.client.pauseContainer("c1", quietCall());
  await w.client.writeStdin(process, Buffer.from("x"), quietCall());
  const reading = w.client.readStdout(process, 10, quietCall());
  let read = false;
  void reading.then(() => {
    read = true;
  });
  await settled();
  assert.not(read);
  await w.client.resumeContainer("c1", quietCall());
  assert.is(Buffer.from(await reading).toString(), "x");
});

s.test("a signal waits for a paused process, trapped or not; SIGKILL does not", async () => {
  await using w = await growingGuest();
  let trapped = 0;
  w.world.programs.trapper = async ({ trap, signal }) => {
    trap(SIGUSR1, () => void trapped++);
    await onceAborted(signal);
    return 0;
  };
  const one = await w.running("c1", ["trapper"]);
  await w.client.pauseContainer("c1", quietCall());
  for (const signal of [SIGUSR1, SIGTERM]) await w.client.signalProcess(one, signal, false, quietCall());
  assert.equal([trapped, w.snapshot().guest.containers[0]?.state], [0, "running"]);
  await w.client.resumeContainer("c1", quietCall());
  assert.is(await w.client.waitProcess(one, quietCall()), 128 + SIGTERM);
  assert.is(trapped, 1);

  const two = await w.running("c2", ["sleep", "infinity"]);
  await w.client.pauseContainer("c2", quietCall());
  await w.client.signalProcess(two, SIGKILL, true, quietCall());
  assert.is(await w.client.waitProcess(two, quietCall()), 128 + SIGKILL);
});

s.test("what is paused cannot be paused, what is not cannot be resumed, and what does not run neither: FAILED_PRECONDITION", async () => {
  await using w = await growingGuest();
  const status = async (work: Promise<unknown>) => (await rejects(work, "AGENT_FAILED")).data.status;
  const process = await w.running("c1", ["cat"]);
  assert.is(await status(w.client.resumeContainer("c1", quietCall())), "FAILED_PRECONDITION");
  await w.client.pauseContainer("c1", quietCall());
  assert.is(await status(w.client.pauseContainer("c1", quietCall())), "FAILED_PRECONDITION");
  await w.client.resumeContainer("c1", quietCall());
  await w.client.closeStdin(process, quietCall());
  assert.is(await w.client.waitProcess(process, quietCall()), 0);
  await w.container("c2", ["true"]);
  for (const id of ["c1", "c2"]) assert.is(await status(w.client.pauseContainer(id, quietCall())), "FAILED_PRECONDITION");
});

s.run();
