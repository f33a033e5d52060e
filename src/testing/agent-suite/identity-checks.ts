import assert from "node:assert/strict";
import type { AgentClient } from "../../contracts/agent.ts";
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
  const checkGuest = (behaviour: string, body: (identity: AgentIdentity, client: AgentClient, fixture: AgentFixture) => Promise<void>) =>
    check(behaviour, async (fixture) => {
      const client = await fixture.agent.connect(fixture.target, quietCall());
      try {
        if (client.identity) await body(client.identity, client, fixture);
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

  checkGuest("warmUp() leaves no sandbox and no container, and can be repeated", async (identity, client, fixture) => {
    for (let time = 0; time < 2; time++) await identity.warmUp(patientCall());
    await withSandbox(fixture, async (world) => {
      assert.equal(await world.client.waitProcess(await world.run("web", ["true"]), quietCall()), 0);
      await refuses("a container of the warm-up", world.client.startContainer("warm-up", quietCall()), "NOT_FOUND");
    });
    await identity.prepareToBeSaved(patientCall());
    await client.check(quietCall());
  });

  checkGuest("a guest with a sandbox is neither warmed up nor prepared, and keeps its sandbox", async (_, _client, fixture) => {
    await withSandbox(fixture, async (world) => {
      const { identity } = world.client;
      if (!identity) throw new Error("another connection has no identity");
      const process = await world.run("web", ["sleep", "100"]);
      await refuses("warmUp() with a sandbox", identity.warmUp(patientCall()), "ALREADY_EXISTS");
      await refuses("prepareToBeSaved() with a sandbox", identity.prepareToBeSaved(patientCall()), "FAILED_PRECONDITION");
      await world.client.signalProcess(process, 9, false, quietCall());
      assert.equal(await world.client.waitProcess(process, quietCall()), 137);
    });
  });

  checkGuest("calls whose signal has fired fail, and the next ones work", async (identity) => {
    await failure("warmUp() with a fired signal", identity.warmUp(firedCall()));
    await failure("prepareToBeSaved() with a fired signal", identity.prepareToBeSaved(firedCall()));
    await failure("renew() with a fired signal", identity.renew(IDENTITY, firedCall()));
    await identity.renew(IDENTITY, patientCall());
  });
}
