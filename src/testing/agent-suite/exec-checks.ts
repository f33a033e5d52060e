import assert from "node:assert/strict";
import { constants } from "node:os";
import type { CheckOn } from "../conformance/checks.ts";
import { begun, failure, firedCall, isPending, rejects } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { refuses } from "./expect-status.ts";
import { type AgentFixture, type AgentWorld, readAll, unlessIdle, withSandbox, writeAll } from "./fixture.ts";

const { SIGKILL, SIGTERM } = constants.signals;
const KILLED = 128 + SIGKILL;

/** Processes beside a container's own. */
export function execChecks(check: CheckOn<AgentFixture>): void {
  const checkIn = (behaviour: string, body: (world: AgentWorld) => Promise<void>) =>
    check(behaviour, (fixture) => withSandbox(fixture, body));

  checkIn("one more process has streams and an exit code of its own, and the container goes on", async ({ client, run, exec }) => {
    const own = await run("web", ["cat"]);
    const process = await exec("web", "more", ["cat"]);
    await writeAll(client, own, Buffer.from("own"));
    await writeAll(client, process, Buffer.from("more"));
    await client.closeStdin(process, quietCall());
    assert.equal((await readAll(client, process)).toString(), "more");
    assert.equal(await client.waitProcess(process, quietCall()), 0);
    assert.equal(await client.waitProcess(await exec("web", "seven", ["sh", "-c", "exit 7"]), quietCall()), 7);
    await client.closeStdin(own, quietCall());
    assert.equal((await readAll(client, own)).toString(), "own");
  });

  checkIn(
    "what one more process has written can be read when it has ended, and every waiter is told how",
    async ({ client, run, exec }) => {
      await run("web", ["cat"]);
      const process = await exec("web", "more", ["sh", "-c", "echo out; echo err >&2"]);
      const codes = await Promise.all([client.waitProcess(process, quietCall()), client.waitProcess(process, quietCall())]);
      assert.deepEqual([...codes, await client.waitProcess(process, quietCall())], [0, 0, 0]);
      assert.equal((await readAll(client, process)).toString(), "out\n");
      assert.equal((await readAll(client, process, "stderr")).toString(), "err\n");
    },
  );

  for (const [what, command, code] of [
    ["does not exist", "no-such-command", "COMMAND_NOT_FOUND"],
    ["cannot be executed", "/etc/passwd", "COMMAND_NOT_EXECUTABLE"],
  ] as const) {
    checkIn(`a command beside the container's own that ${what} is ${code}, and its id is free`, async ({ client, run, exec }) => {
      await run("web", ["cat"]);
      for (let time = 0; time < 2; time++) {
        const error = await rejects(`execProcess() of ${command}`, exec("web", "more", [command]), code);
        assert.equal(Reflect.get(error.data, "exitCode"), code === "COMMAND_NOT_FOUND" ? 127 : 126);
      }
      assert.equal(await client.waitProcess(await exec("web", "more", ["true"]), quietCall()), 0);
    });
  }

  checkIn("a second process of an id is ALREADY_EXISTS, and the first one goes on", async ({ client, run, exec }) => {
    await run("web", ["cat"]);
    const process = await exec("web", "more", ["cat"]);
    for (const id of ["more", "web"]) await refuses("execProcess() of a taken id", exec("web", id, ["true"]), "ALREADY_EXISTS");
    await writeAll(client, process, Buffer.from("x"));
    assert.equal((await client.readStdout(process, 1024, quietCall())).length, 1);
  });

  checkIn("only a container that runs can have one more process", async ({ client, create, run, exec }) => {
    await create("created", ["true"]);
    await client.waitProcess(await run("ended", ["true"]), quietCall());
    for (const id of ["created", "ended"]) await refuses("execProcess()", exec(id, "more", ["true"]), "FAILED_PRECONDITION");
    await client.removeContainer("ended", quietCall());
    await refuses("execProcess() in an unknown container", exec("ended", "more", ["true"]), "NOT_FOUND");
  });

  checkIn("a signal to one process leaves the others, and one to all of them reaches each", async ({ client, run, exec }) => {
    const own = await run("web", ["cat"]);
    const [first, second] = [await exec("web", "first", ["sleep", "60"]), await exec("web", "second", ["sleep", "60"])];
    const others = begun(Promise.race([own, second].map((process) => client.waitProcess(process, quietCall()))));
    await client.signalProcess(first, SIGTERM, false, quietCall());
    assert.equal(await client.waitProcess(first, quietCall()), 128 + SIGTERM);
    assert.equal(await isPending(others), true, "another process got the signal");
    await client.signalProcess({ container: "web", exec: "" }, SIGKILL, true, quietCall());
    for (const process of [own, second]) assert.equal(await client.waitProcess(process, quietCall()), KILLED);
  });

  checkIn("the processes of a container end with its own", async ({ client, run, exec }) => {
    const own = await run("web", ["cat"]);
    const process = await exec("web", "more", ["sleep", "60"]);
    await client.closeStdin(own, quietCall());
    assert.equal(await client.waitProcess(own, quietCall()), 0);
    assert.equal(await client.waitProcess(process, quietCall()), KILLED);
  });

  checkIn("a pause stops every process of the container", async ({ client, run, exec }) => {
    await run("web", ["cat"]);
    const process = await exec("web", "more", ["cat"]);
    await client.pauseContainer("web", quietCall());
    await refuses("execProcess() in a paused container", exec("web", "late", ["true"]), "FAILED_PRECONDITION");
    await writeAll(client, process, Buffer.from("x"));
    const answer = begun(client.readStdout(process, 1024, quietCall()));
    assert.equal(await unlessIdle(answer), undefined, "a paused process answered");
    await client.resumeContainer("web", quietCall());
    assert.equal((await answer).length, 1);
  });

  checkIn("execProcess() with a signal that has fired fails and has no effect", async ({ fixture, client, run, exec }) => {
    await run("web", ["cat"]);
    const { spec } = await fixture.container("spare", ["true"]);
    const late = client.execProcess({ container: "web", exec: "more" }, spec.process, firedCall());
    await failure("execProcess() with a fired signal", late);
    assert.equal(await client.waitProcess(await exec("web", "more", ["true"]), quietCall()), 0);
  });
}
