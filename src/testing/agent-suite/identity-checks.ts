import assert from "node:assert/strict";
import type { AgentIdentity } from "../../contracts/agent-identity.ts";
import type { CheckOn } from "../conformance/checks.ts";
import { failure, firedCall, rejects } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { refuses } from "./expect-status.ts";
import { type AgentFixture, withSandbox } from "./fixture.ts";

const IDENTITY = { entropy: new Uint8Array(64).fill(7), machineId: "0123456789abcdef0123456789abcdef", hostname: "renewed" };
/** A warm-up runs containers, under emulation. */
const patientCall = () => quietCall({ timeoutMs: 60_000 });

/** A guest that is saved and goes on as another; one that cannot says so by not having the calls. */
export function identityChecks(check: CheckOn<AgentFixture>): void {
  const checkGuest = (behaviour: string, body: (identity: AgentIdentity) => Promise<void>) =>
    check(behaviour, async (fixture) => {
      const client = await fixture.agent.connect(fixture.target, quietCall());
      try {
        if (client.identity) await body(client.identity);
      } finally {
        await client.close();
      }
    });

  check("a guest that can go on as another is told from one that cannot", async (fixture) => {
    const client = await fixture.agent.connect(fixture.target, quietCall());
    await client.close();
    assert.equal(client.identity !== undefined, fixture.extras ?? true);
  });

  checkGuest("renew() resolves with how far the clock can be off, as often as it is asked, prepared or not", async (identity) => {
    for (const prepare of [true, false]) {
      if (prepare) await identity.prepareToBeSaved(patientCall());
      const { clockErrorMs } = await identity.renew(IDENTITY, patientCall());
      assert.ok(clockErrorMs >= 0 && clockErrorMs < 30_000, `${clockErrorMs} ms`);
    }
  });

  checkGuest("renew() refuses what is no identity, by the name of its field", async (identity) => {
    for (const bad of [
      { entropy: new Uint8Array(63) },
      { entropy: new Uint8Array(65) },
      { machineId: IDENTITY.machineId.toUpperCase() },
      { machineId: IDENTITY.machineId.slice(1) },
      { hostname: "" },
      { hostname: "x".repeat(65) },
      { hostname: "a\nb" },
    ]) {
      await rejects(`renew() with ${Object.keys(bad)}`, identity.renew({ ...IDENTITY, ...bad }, patientCall()), "INVALID_INPUT");
    }
  });

  check("warmUp() leaves no sandbox and no container, and can be repeated", (fixture) =>
    withSandbox(fixture, async ({ client, run }) => {
      if (!client.identity) return;
      await client.destroySandbox(quietCall());
      for (let time = 0; time < 2; time++) await client.identity.warmUp(patientCall());
      await client.createSandbox({ hostname: "box", sandbox: "box", storages: [] }, quietCall());
      assert.equal(await client.waitProcess(await run("web", ["true"]), quietCall()), 0);
      await refuses("a container of the warm-up", client.startContainer("warm-up", quietCall()), "NOT_FOUND");
    }),
  );

  check("a guest with a sandbox is neither warmed up nor prepared, and keeps its sandbox", (fixture) =>
    withSandbox(fixture, async ({ client, run }) => {
      if (!client.identity) return;
      const process = await run("web", ["sleep", "100"]);
      await refuses("warmUp() with a sandbox", client.identity.warmUp(patientCall()), "ALREADY_EXISTS");
      await refuses("prepareToBeSaved() with a sandbox", client.identity.prepareToBeSaved(patientCall()), "FAILED_PRECONDITION");
      await client.signalProcess(process, 9, false, quietCall());
      assert.equal(await client.waitProcess(process, quietCall()), 137);
    }),
  );

  checkGuest("calls whose signal has fired fail, and the next ones work", async (identity) => {
    await failure("warmUp() with a fired signal", identity.warmUp(firedCall()));
    await failure("prepareToBeSaved() with a fired signal", identity.prepareToBeSaved(firedCall()));
    await failure("renew() with a fired signal", identity.renew(IDENTITY, firedCall()));
    await identity.renew(IDENTITY, patientCall());
  });
}
