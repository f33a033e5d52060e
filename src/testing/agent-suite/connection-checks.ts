import assert from "node:assert/strict";
import type { CheckOn } from "../conformance/checks.ts";
import { begun, failure, firedCall, isPending, rejects } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { type AgentFixture, withSandbox } from "./fixture.ts";

/** The connection, and the sandbox of the guest. */
export function connectionChecks(check: CheckOn<AgentFixture>): void {
  check("connect() says truly whether it needs a transport", async ({ agent, target }) => {
    const work = agent.connect({ ...target, transport: undefined }, quietCall());
    if (agent.needsTransport) await rejects("connect() without a transport", work, "UNSUPPORTED");
    else await (await work).close();
  });

  check("connect() with a signal that has fired fails, and works afterwards", async ({ agent, target }) => {
    await failure("connect() with a fired signal", agent.connect(target, firedCall()));
    await (await agent.connect(target, quietCall())).close();
  });

  check("guestDetails() is in bounds", (fixture) =>
    withSandbox(fixture, async ({ client }) => {
      const { memoryBlockBytes, agentVersion, storageHandlers } = await client.guestDetails(quietCall());
      assert.ok(Number.isSafeInteger(memoryBlockBytes) && memoryBlockBytes >= 0, String(memoryBlockBytes));
      assert.match(agentVersion, /^[^\n]{1,256}$/);
      for (const name of storageHandlers) assert.match(name, /^[\w.-]+$/);
    }),
  );

  check("createSandbox() twice is AGENT_FAILED, and the first one stays", (fixture) =>
    withSandbox(fixture, async ({ client, run }) => {
      const request = { hostname: "other", sandbox: "other", storages: [] };
      await rejects("a second createSandbox()", client.createSandbox(request, quietCall()), "AGENT_FAILED");
      assert.equal(await client.waitProcess(await run("web", ["true"]), quietCall()), 0);
    }),
  );

  check("destroySandbox() is success twice, and a sandbox can be created again", (fixture) =>
    withSandbox(fixture, async ({ client }) => {
      for (let time = 0; time < 2; time++) await client.destroySandbox(quietCall());
      await client.createSandbox({ hostname: "box", sandbox: "box", storages: [] }, quietCall());
    }),
  );

  check("lost is open while connected; close() settles it with undefined, can be repeated, and ends pending calls", (fixture) =>
    withSandbox(fixture, async ({ client, run }) => {
      const process = await run("web", ["sleep", "60"]);
      assert.equal(await isPending(client.lost), true, "lost settled while connected");
      const waiting = begun(rejects("a call that was pending", client.waitProcess(process, quietCall()), "AGENT_LOST"));
      await client.close();
      await client.close();
      assert.equal(await client.lost, undefined);
      await waiting;
      await rejects("a call after close()", client.guestDetails(quietCall()), "AGENT_LOST");
    }),
  );

  check("a lost connection settles lost with the reason, and fails what is pending and what comes later with AGENT_LOST", (fixture) =>
    withSandbox(fixture, async ({ client, run }) => {
      const process = await run("web", ["cat"]);
      const waiting = begun(rejects("a wait that was pending", client.waitProcess(process, quietCall()), "AGENT_LOST"));
      const reading = begun(rejects("a read that was pending", client.readStdout(process, 1024, quietCall()), "AGENT_LOST"));
      await fixture.cut();
      assert.ok((await client.lost) instanceof Error, "lost must say why");
      await Promise.all([waiting, reading]);
      await rejects("a later call", client.guestDetails(quietCall()), "AGENT_LOST");
      await client.close();
    }),
  );

  check("the containers go on without a connection, and the next one reaches them", (fixture) =>
    withSandbox(fixture, async ({ client, run }) => {
      const process = await run("web", ["sh", "-c", "exec cat"]);
      await client.close();
      const next = await fixture.agent.connect(fixture.target, quietCall());
      await next.closeStdin(process, quietCall());
      assert.equal(await next.waitProcess(process, quietCall()), 0);
      await next.close();
    }),
  );
}
