import { readdir, readFile } from "node:fs/promises";
import { isTapvisorError } from "tapvisor";
import * as assert from "uvu/assert";
import { type FakeEngine, fakeEngine } from "../support/fake-engine.ts";
import { quiet } from "../support/fault-case.ts";
import { Injector } from "../support/injector.ts";
import { suite } from "../support/suite.ts";

const s = suite("cycles");

const CYCLES = 1_000;

/** What a leak would add to, of this process and of the engine's root. */
async function countsOf({ directory, state, world }: FakeEngine) {
  const lines = async (file: string) => (await readFile(file, "utf8")).split("\n").length;
  const tasks = await readdir("/proc/self/task");
  const children = await Promise.all(tasks.map((task) => readFile(`/proc/self/task/${task}/children`, "utf8").catch(() => "")));
  return {
    fileDescriptors: (await readdir("/proc/self/fd")).length,
    mounts: await lines("/proc/self/mountinfo"),
    processes: children.join(" ").trim(),
    files: (await readdir(directory, { recursive: true })).sort(),
    records: state.ids(),
    vms: world.snapshot().vms,
    listeners: process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0),
  };
}

s.test(
  `${CYCLES} creates that fail, each at another point, leave every count where it was, and the ids free`,
  async () => {
    const injector = new Injector();
    await using fake = await fakeEngine({ injector });
    const failsAt = async (nth: number, work: (signal: AbortSignal) => Promise<unknown>) => {
      injector.begin([{ at: "*", nth, mode: nth % 3 === 0 ? "abort" : nth % 3 === 1 ? "before" : "after" }]);
      const code = await work(injector.caller.signal).then(
        () => "ok",
        (error: unknown) => (isTapvisorError(error) ? error.code : String(error)),
      );
      injector.end();
      await quiet();
      return code;
    };
    const createSandbox = (signal: AbortSignal) => fake.engine.createSandbox({ id: "box", boot: { retries: 0 } }, { signal });
    const failures: Record<string, number> = {};
    const note = (code: string) => {
      failures[code] = (failures[code] ?? 0) + 1;
    };
    const cycle = async (from: number, count: number) => {
      for (let index = from; index < from + count / 2; index++) {
        note(await failsAt(1 + (index % 21), createSandbox));
        const made = fake.state.has("box") ? await fake.engine.sandbox("box") : undefined;
        await made?.[Symbol.asyncDispose](); // the fault came too late for this one
      }
      const sandbox = await fake.engine.runSandbox({ id: "box" });
      const options = { id: "web", rootfs: fake.rootfs, command: ["sleep", "60"] };
      for (let index = from; index < from + count / 2; index++) {
        note(await failsAt(1 + (index % 23), (signal) => sandbox.run(options, { signal })));
        for (const container of sandbox.containers()) await container[Symbol.asyncDispose]();
      }
      await sandbox[Symbol.asyncDispose]();
    };
    await cycle(0, 60); // what is made once is made now
    const before = await countsOf(fake);
    failures.ok = 0;
    await cycle(0, CYCLES);
    assert.equal(await countsOf(fake), before);
    assert.ok((failures.ok ?? 0) < CYCLES / 5, JSON.stringify(failures));
    console.log(`cycles: ${JSON.stringify(failures)}, ${before.fileDescriptors} descriptors, ${before.mounts} mounts`);
  },
  { timeoutMs: 120_000 },
);

s.run();
