import assert from "node:assert/strict";
import { constants } from "node:os";
import type { AgentClient } from "../../contracts/agent.ts";
import type { CheckOn } from "../conformance/checks.ts";
import { begun, failure, firedCall } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { refuses } from "./expect-status.ts";
import { type AgentFixture, type AgentWorld, unlessIdle, withSandbox, writeAll } from "./fixture.ts";

const { SIGKILL } = constants.signals;

/** Containers that are frozen and thawed. */
export function pauseChecks(check: CheckOn<AgentFixture>): void {
  const checkIn = (behaviour: string, body: (world: AgentWorld) => Promise<void>) =>
    check(behaviour, (fixture) => withSandbox(fixture, body));

  checkIn("a paused container does nothing until it is resumed, and goes on where it was", async ({ client, run }) => {
    const process = await run("web", ["cat"]);
    const echo = async (text: string) => {
      await writeAll(client, process, Buffer.from(text));
      return Buffer.from(await client.readStdout(process, 1024, quietCall())).toString();
    };
    assert.equal(await echo("before"), "before");
    await client.pauseContainer("web", quietCall());
    const answer = begun(echo("while paused"));
    assert.equal(await unlessIdle(answer), undefined, "a paused process answered");
    await client.resumeContainer("web", quietCall());
    assert.equal(await answer, "while paused");
    await client.closeStdin(process, quietCall());
    assert.equal(await client.waitProcess(process, quietCall()), 0);
  });

  checkIn("pausing one container leaves another one running", async ({ client, run }) => {
    await run("paused", ["sleep", "60"]);
    const process = await run("other", ["cat"]);
    await client.pauseContainer("paused", quietCall());
    await writeAll(client, process, Buffer.from("x"));
    assert.equal((await client.readStdout(process, 1024, quietCall())).length, 1);
  });

  checkIn("only a running container can be paused, and only a paused one resumed", async ({ client, run }) => {
    const process = await run("web", ["cat"]);
    await refuses("resumeContainer() of a running one", client.resumeContainer("web", quietCall()), "FAILED_PRECONDITION");
    await client.pauseContainer("web", quietCall());
    await refuses("a second pauseContainer()", client.pauseContainer("web", quietCall()), "FAILED_PRECONDITION");
    await client.resumeContainer("web", quietCall());
    await client.closeStdin(process, quietCall());
    await runs(client, process);
  });

  checkIn("a container that has not been started or has ended cannot be paused or resumed", async ({ client, create, run }) => {
    await create("created", ["true"]);
    await client.waitProcess(await run("ended", ["true"]), quietCall());
    for (const container of ["created", "ended"]) {
      await refuses("pauseContainer()", client.pauseContainer(container, quietCall()), "FAILED_PRECONDITION");
      await refuses("resumeContainer()", client.resumeContainer(container, quietCall()), "FAILED_PRECONDITION");
    }
    await client.startContainer("created", quietCall());
    assert.equal(await client.waitProcess({ container: "created", exec: "created" }, quietCall()), 0);
  });

  checkIn("a paused container can be killed, and removed", async ({ client, run }) => {
    const process = await run("killed", ["sleep", "60"]);
    await client.pauseContainer("killed", quietCall());
    await client.signalProcess(process, SIGKILL, true, quietCall());
    assert.equal(await client.waitProcess(process, quietCall()), 128 + SIGKILL);
    await run("removed", ["sleep", "60"]);
    await client.pauseContainer("removed", quietCall());
    await client.removeContainer("removed", quietCall());
    await runs(client, await run("removed-2", ["true"]));
  });

  checkIn("pauseContainer() with a signal that has fired fails and has no effect", async ({ client, run }) => {
    const process = await run("web", ["cat"]);
    await failure("pauseContainer() with a fired signal", client.pauseContainer("web", firedCall()));
    await client.closeStdin(process, quietCall());
    await runs(client, process);
  });
}

async function runs(client: AgentClient, process: Parameters<AgentClient["waitProcess"]>[0]): Promise<void> {
  assert.equal(await client.waitProcess(process, quietCall()), 0);
}
