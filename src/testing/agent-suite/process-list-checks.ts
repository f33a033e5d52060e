import assert from "node:assert/strict";
import { constants } from "node:os";
import type { GuestProcessInfo } from "../../contracts/agent.ts";
import type { CheckOn } from "../conformance/checks.ts";
import { quietCall } from "../quiet-call.ts";
import { refuses } from "./expect-status.ts";
import { type AgentFixture, type AgentWorld, withSandbox } from "./fixture.ts";

const { SIGKILL } = constants.signals;

/** The list of a container's processes. */
export function processListChecks(check: CheckOn<AgentFixture>): void {
  const checkIn = (behaviour: string, body: (world: AgentWorld) => Promise<void>) =>
    check(behaviour, (fixture) => withSandbox(fixture, body));

  checkIn("listProcesses() has each process that runs, and no other container's", async ({ fixture, client, run, exec }) => {
    await run("other", ["sleep", "61"]);
    await run("web", ["cat"]);
    const process = await exec("web", "more", ["sleep", "60"]);
    const list = await client.listProcesses("web", quietCall());
    assert.deepEqual(list.map(({ command }) => command).sort(), ["cat", "sleep 60"]);
    for (const each of list) checkProcess(each);
    assert.equal(new Set(list.map(({ pid }) => pid)).size, 2, "two processes of one pid");
    const own = list.find(({ command }) => command === "cat");
    if (fixture.extras ?? true) assert.equal(own?.pid, 1, "the container does not count its own process as the first");
    await client.signalProcess(process, SIGKILL, false, quietCall());
    await client.waitProcess(process, quietCall());
    assert.deepEqual(
      (await client.listProcesses("web", quietCall())).map(({ command }) => command),
      ["cat"],
    );
  });

  checkIn("listProcesses() of a container that has ended is empty, and of one that is unknown NOT_FOUND", async ({ client, run }) => {
    const process = await run("web", ["cat"]);
    await client.closeStdin(process, quietCall());
    await client.waitProcess(process, quietCall());
    assert.deepEqual(await client.listProcesses("web", quietCall()), []);
    await client.removeContainer("web", quietCall());
    await refuses("listProcesses() of an unknown container", client.listProcesses("web", quietCall()), "NOT_FOUND");
  });
}

function checkProcess({ command, pid, parentPid, uid, gid, state, elapsedSeconds, residentBytes }: GuestProcessInfo): void {
  assert.match(state, /^[A-Za-z]$/, `the state of ${command}`);
  for (const [name, value] of Object.entries({ pid, parentPid, uid, gid, elapsedSeconds, residentBytes })) {
    assert.ok(Number.isSafeInteger(value) && value >= 0, `${name} of ${command} is ${value}`);
  }
  assert.deepEqual({ uid, gid }, { uid: 0, gid: 0 }, `the user of ${command}`);
}
