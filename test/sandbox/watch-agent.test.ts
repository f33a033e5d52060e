import { setTimeout as delay } from "node:timers/promises";
import { isTapvisorError, TapvisorError } from "tapvisor";
import type { Call, Vm } from "tapvisor/plugin";
import { quietCall } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { explainLoss, withLastWords } from "../../src/sandbox/last-words.ts";
import { watchAgent } from "../../src/sandbox/watch-agent.ts";
import { suite } from "../support/suite.ts";

const s = suite("an agent that is watched");
const PACE = { quietMs: 20, answerMs: 20, againMs: [5, 10] };
const QUESTIONS = 1 + PACE.againMs.length;

/** A watch whose agent answers as it is told; `hung` resolves with the reason. */
function watched(check: (call: Call, count: number) => Promise<void>, state: Awaited<ReturnType<Vm["status"]>> = "running") {
  let asked = 0;
  let settle: (cause: unknown) => void = () => {};
  const hung = new Promise<unknown>((resolve) => {
    settle = resolve;
  });
  const client = { check: (call: Call) => check(call, ++asked) };
  const watch = watchAgent(client, { status: async () => state }, quietCall().log, settle, PACE);
  const soon = () => Promise.race([hung.then(() => "hung"), delay(400).then(() => "alive")]);
  return { watch, hung, soon, asked: () => asked };
}

const never = () => new Promise<void>(() => {});

s.test("one that answers is asked again and again, and never lost", async () => {
  const w = watched(async () => {});
  assert.is(await w.soon(), "alive");
  w.watch.stop();
  assert.ok(w.asked() >= 2, `asked ${w.asked()} times`);
});

s.test("one that does not answer, or refuses, is lost after it has been asked with pauses, and is not asked any more", async () => {
  for (const check of [never, () => Promise.reject(new Error("not serving"))]) {
    const w = watched(check);
    assert.ok(await w.hung);
    assert.is(w.asked(), QUESTIONS);
    await delay(100);
    assert.is(w.asked(), QUESTIONS);
  }
});

s.test("one that answers the last question lives", async () => {
  const w = watched((_call, count) => (count % QUESTIONS === 0 ? Promise.resolve() : never()));
  assert.is(await w.soon(), "alive");
  w.watch.stop();
});

s.test("one of a VM that is paused is not lost", async () => {
  const w = watched(never, "paused");
  assert.is(await w.soon(), "alive");
  w.watch.stop();
});

s.test("one that is heard of is not asked, and none is after stop()", async () => {
  const w = watched(never);
  for (let time = 0; time < 30; time++) {
    w.watch.heard();
    await delay(5);
  }
  assert.is(w.asked(), 0);
  w.watch.stop();
  assert.is(await w.soon(), "alive");
  assert.is(w.asked(), 0);
});

const LOST = new TapvisorError("AGENT_LOST", "Lost the agent", { data: { id: "box" } });
const words = async () => ({ console: `one\n${"more\n".repeat(10)}last\n` });
const panic = async () => ({ console: `one\nKernel panic - not syncing: so\n${"more\n".repeat(10)}` });

s.test("a loss tells the console's last lines in its text, and what there is in its data", async () => {
  const loss = await explainLoss(LOST, words);
  assert.ok(isTapvisorError(loss) && loss.code === "AGENT_LOST");
  assert.match(loss.message, "Lost the agent; the console's last lines:\nmore");
  assert.match(loss.message, "last");
  assert.not.match(loss.message, "one");
  assert.is(
    Reflect.get((await explainLoss(LOST, panic)) as object, "message"),
    "Lost the agent; the console says: Kernel panic - not syncing: so",
  );
  assert.equal(loss.data, { id: "box", console: (await words()).console });
});

s.test("other errors, a loss without a word, and last words that cannot be had change nothing", async () => {
  const other = new Error("x");
  assert.is(await explainLoss(other, words), other);
  assert.is(await explainLoss(LOST, async () => undefined), LOST);
  assert.is(await explainLoss(LOST, () => Promise.reject(other)), LOST);
});

s.test("a client tells of its answers, explains its losses, and is otherwise what it was, frozen or not", async () => {
  const lost = Promise.resolve(undefined);
  const plain = Object.freeze({ guestDetails: async () => "details", check: () => Promise.reject(LOST), lost });
  let answers = 0;
  const client = withLastWords(plain as never, panic, () => answers++);
  assert.is(await client.guestDetails(quietCall()), "details" as never);
  assert.is(answers, 1);
  const said = await client.check(quietCall()).then(
    () => "",
    (error: Error) => error.message,
  );
  assert.match(said, "Kernel panic");
  assert.is(answers, 1);
  assert.is(client.lost, lost);
  assert.not.ok("files" in client);
});

s.run();
