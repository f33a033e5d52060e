import assert from "node:assert/strict";
import { constants } from "node:os";
import type { AgentClient, GuestProcessId } from "../../contracts/agent.ts";
import type { CheckOn } from "../conformance/checks.ts";
import { begun } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { refuses } from "./expect-status.ts";
import { type AgentFixture, type AgentWorld, readAll, unlessIdle, withSandbox, writeAll } from "./fixture.ts";

const { SIGINT } = constants.signals;
const CTRL_C = Buffer.from([3]);
const CTRL_D = Buffer.from([4]);
const SIZE_AFTER_A_LINE = ["sh", "-c", "read line; stty size"];

/** Processes with a terminal. */
export function terminalChecks(check: CheckOn<AgentFixture>): void {
  const checkIn = (behaviour: string, body: (world: AgentWorld) => Promise<void>) =>
    check(behaviour, (fixture) => withSandbox(fixture, body));

  checkIn("what a process writes to its terminal comes out of its stdout, and its stderr is empty", async ({ client, run, exec }) => {
    const own = await run("web", ["cat"], { terminal: true });
    const process = await exec("web", "more", ["sh", "-c", "echo out; echo err >&2"], { terminal: true });
    assert.equal((await readAll(client, process, "stderr")).length, 0);
    assert.equal(await client.waitProcess(process, quietCall()), 0);
    assert.deepEqual(linesOf(await readAll(client, process)), ["out", "err"]);
    await writeAll(client, own, Buffer.from("typed\n"));
    await writeAll(client, own, CTRL_D);
    assert.ok(linesOf(await readAll(client, own)).includes("typed"), "the container's own process has a terminal too");
    assert.equal((await readAll(client, own, "stderr")).length, 0);
  });

  checkIn("Ctrl-C is a SIGINT for what runs in the terminal", async ({ client, run, exec }) => {
    const own = await run("web", ["cat"]);
    const process = await exec("web", "more", ["sleep", "60"], { terminal: true });
    await writeAll(client, process, CTRL_C);
    assert.equal(await client.waitProcess(process, quietCall()), 128 + SIGINT);
    await client.closeStdin(own, quietCall());
    assert.equal(await client.waitProcess(own, quietCall()), 0);
  });

  checkIn("closeStdin() leaves a terminal open: Ctrl-D is the end of its input", async ({ client, run, exec }) => {
    await run("web", ["cat"]);
    const process = await exec("web", "more", ["cat"], { terminal: true });
    for (let time = 0; time < 2; time++) await client.closeStdin(process, quietCall());
    const end = begun(client.waitProcess(process, quietCall()));
    assert.equal(await unlessIdle(end), undefined, "closeStdin() ended it");
    await writeAll(client, process, Buffer.from("typed\n"));
    await writeAll(client, process, CTRL_D);
    assert.equal(await end, 0);
    assert.ok(linesOf(await readAll(client, process)).includes("typed"));
  });

  checkIn("a terminal has the size it is started with, and then the size it is given", async ({ client, run, exec }) => {
    const size = { terminal: true, consoleSize: { height: 30, width: 100 } };
    const own = await run("web", SIZE_AFTER_A_LINE, size);
    assert.deepEqual(linesOf(await readAll(client, await exec("web", "first", ["stty", "size"], size))), ["30 100"]);
    await resized(client, await exec("web", "more", SIZE_AFTER_A_LINE, size));
    await resized(client, own);
  });

  checkIn("a process without a terminal has no size that could be set", async ({ client, run, exec }) => {
    const own = await run("web", ["cat"]);
    const size = { rows: 24, columns: 80 };
    for (const process of [own, await exec("web", "more", ["sleep", "60"])]) {
      await refuses("resizeTty() without a terminal", client.resizeTty(process, size, quietCall()), "FAILED_PRECONDITION");
    }
    await refuses("resizeTty() of no process", client.resizeTty({ container: "web", exec: "none" }, size, quietCall()), "NOT_FOUND");
  });

  checkIn("a terminal of no rows, or of more than the kernel counts, is INVALID_ARGUMENT", async ({ client, run }) => {
    const own = await run("web", SIZE_AFTER_A_LINE, { terminal: true, consoleSize: { height: 12, width: 1000 } });
    for (const [rows, columns] of [
      [0, 80],
      [24, 0],
      [24, 65_536],
      [-1, 80],
      [1.5, 80],
    ] as const) {
      await refuses("resizeTty()", client.resizeTty(own, { rows, columns }, quietCall()), "INVALID_ARGUMENT");
    }
    await writeAll(client, own, Buffer.from("\n"));
    assert.ok(linesOf(await readAll(client, own)).includes("12 1000"), "a refused size was set");
  });
}

async function resized(client: AgentClient, process: GuestProcessId): Promise<void> {
  await client.resizeTty(process, { rows: 50, columns: 132 }, quietCall());
  await writeAll(client, process, Buffer.from("\n"));
  assert.ok(linesOf(await readAll(client, process)).includes("50 132"), `the terminal of ${process.exec} has not the size it was given`);
}

/** Without what a real terminal does to the end of a line. */
function linesOf(output: Buffer): readonly string[] {
  return output
    .toString()
    .split(/[\r\n]+/)
    .filter(Boolean);
}
