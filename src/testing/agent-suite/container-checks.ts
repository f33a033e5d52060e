import assert from "node:assert/strict";
import { constants } from "node:os";
import { isTapvisorError } from "../../base/errors.ts";
import type { CheckOn } from "../conformance/checks.ts";
import { begun, failure, firedCall, isPending, rejects } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { type AgentFixture, type AgentWorld, withSandbox } from "./fixture.ts";

const { SIGKILL } = constants.signals;
const KILLED = 128 + SIGKILL;

/** Containers: how they are made, how their process ends, how they go. */
export function containerChecks(check: CheckOn<AgentFixture>): void {
  const checkIn = (behaviour: string, body: (world: AgentWorld) => Promise<void>) =>
    check(behaviour, (fixture) => withSandbox(fixture, body));

  checkIn("a process's exit code is its own", async ({ client, run }) => {
    for (const code of [0, 1, 7, 255]) {
      assert.equal(await client.waitProcess(await run(`exit-${code}`, ["sh", "-c", `exit ${code}`]), quietCall()), code);
    }
  });

  checkIn("a process ended by a signal exits with 128 + its number; signalling it again is success", async ({ client, run }) => {
    const one = await run("one", ["sleep", "60"]);
    await client.signalProcess(one, SIGKILL, false, quietCall());
    assert.equal(await client.waitProcess(one, quietCall()), KILLED);
    await client.signalProcess(one, SIGKILL, false, quietCall());
    const all = await run("all", ["sleep", "60"]);
    await client.signalProcess({ container: "all", exec: "" }, SIGKILL, true, quietCall());
    assert.equal(await client.waitProcess(all, quietCall()), KILLED);
  });

  for (const [what, command, code] of [
    ["does not exist", "no-such-command", "COMMAND_NOT_FOUND"],
    ["cannot be executed", "/etc/passwd", "COMMAND_NOT_EXECUTABLE"],
  ] as const) {
    checkIn(`a command that ${what} is ${code}, and its container can be removed and made again`, async ({ fixture, client }) => {
      for (const time of ["once", "again"]) {
        const request = await fixture.container(`bad-${time}`, [command]);
        const starting = client.createContainer(request, quietCall()).then(() => client.startContainer(request.container, quietCall()));
        const error = await rejects(`a container of ${command}`, starting, code);
        assert.equal(Reflect.get(error.data, "exitCode"), code === "COMMAND_NOT_FOUND" ? 127 : 126);
        await client.removeContainer(request.container, quietCall());
      }
    });
  }

  checkIn("every waiter gets the exit code, early or late, and giving up a wait ends nothing", async ({ client, run }) => {
    const process = await run("web", ["sleep", "60"]);
    const caller = new AbortController();
    const impatient = begun(client.waitProcess(process, quietCall({ signal: caller.signal })));
    const early = [begun(client.waitProcess(process, quietCall())), begun(client.waitProcess(process, quietCall()))];
    caller.abort();
    await failure("a wait that was given up", impatient);
    assert.equal(await isPending(Promise.race(early)), true, "a wait ended while the process ran");
    await client.signalProcess(process, SIGKILL, false, quietCall());
    assert.deepEqual(await Promise.all([...early, client.waitProcess(process, quietCall())]), [KILLED, KILLED, KILLED]);
  });

  checkIn("a second container of an id is AGENT_FAILED, and the first one goes on", async ({ fixture, client }) => {
    const request = await fixture.container("web", ["cat"]);
    await client.createContainer(request, quietCall());
    await client.startContainer("web", quietCall());
    await rejects("createContainer() of a taken id", client.createContainer(request, quietCall()), "AGENT_FAILED");
    await rejects("a second startContainer()", client.startContainer("web", quietCall()), "AGENT_FAILED");
    const process = { container: "web", exec: "web" };
    await client.closeStdin(process, quietCall());
    assert.equal(await client.waitProcess(process, quietCall()), 0);
  });

  checkIn("removeContainer() kills what runs, is success twice, and the container can be made again", async ({ fixture, client }) => {
    const request = await fixture.container("web", ["sleep", "60"]);
    for (const started of [true, false]) {
      await client.createContainer(request, quietCall());
      if (started) await client.startContainer("web", quietCall());
      for (let time = 0; time < 2; time++) await client.removeContainer("web", quietCall());
    }
  });

  checkIn("an unknown container is AGENT_FAILED with NOT_FOUND for the verbs that need one", async ({ client }) => {
    const nobody = { container: "nobody", exec: "nobody" };
    const verbs: Readonly<Record<string, () => Promise<unknown>>> = {
      startContainer: () => client.startContainer("nobody", quietCall()),
      waitProcess: () => client.waitProcess(nobody, quietCall()),
      readStdout: () => client.readStdout(nobody, 1024, quietCall()),
      readStderr: () => client.readStderr(nobody, 1024, quietCall()),
      writeStdin: () => client.writeStdin(nobody, Buffer.from("x"), quietCall()),
      pauseContainer: () => client.pauseContainer("nobody", quietCall()),
      resumeContainer: () => client.resumeContainer("nobody", quietCall()),
      updateContainer: () => client.updateContainer("nobody", {}, quietCall()),
      statsContainer: () => client.statsContainer("nobody", quietCall()),
    };
    for (const [verb, call] of Object.entries(verbs)) {
      const error = await rejects(`${verb}() of an unknown container`, call(), "AGENT_FAILED");
      if (isTapvisorError(error)) assert.equal(Reflect.get(error.data, "status"), "NOT_FOUND", verb);
    }
    await client.removeContainer("nobody", quietCall());
    await client.signalProcess(nobody, SIGKILL, true, quietCall());
    await client.closeStdin(nobody, quietCall());
  });

  checkIn("a verb with a signal that has fired fails and has no effect", async ({ fixture, client }) => {
    const request = await fixture.container("web", ["true"]);
    await failure("createContainer() with a fired signal", client.createContainer(request, firedCall()));
    await client.createContainer(request, quietCall());
    await failure("startContainer() with a fired signal", client.startContainer("web", firedCall()));
    await client.startContainer("web", quietCall());
    assert.equal(await client.waitProcess({ container: "web", exec: "web" }, quietCall()), 0);
  });
}
