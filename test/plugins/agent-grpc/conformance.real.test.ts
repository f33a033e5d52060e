import { type AgentFixture, agentSuite, collectChecks, runChecks } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { realGuest } from "./support/real-guest.ts";

const s = suite("agent-grpc, transport-serial and the guest's agent conformance");

s.test(
  "they pass the agents' suite together, in one real VM",
  async () => {
    await using guest = await realGuest();
    const checks = collectChecks((collect) => agentSuite("agent-grpc", () => fixtureIn(guest), { suite: collect }));
    const results = await runChecks(checks);
    const failed = results.flatMap(({ name, error }) => (error ? [`${name}: ${error.message}`] : []));
    console.log(`${results.length} checks in one VM`);
    assert.equal(failed, []);
  },
  { timeoutMs: 480_000 },
);

/** The same VM for each check: they leave it as they found it, and the shares and disks are given back here. */
async function fixtureIn(guest: Awaited<ReturnType<typeof realGuest>>): Promise<AgentFixture> {
  const plugged: AsyncDisposable[] = [];
  return {
    agent: guest.agent,
    target: guest.target,
    async container(id, args) {
      const { request, ...share } = await guest.plug(id, args);
      plugged.push(share);
      return request;
    },
    async disk() {
      const disk = await guest.disk();
      plugged.push(disk);
      return disk;
    },
    cut: () => guest.cut(),
    async [Symbol.asyncDispose]() {
      for (const share of plugged.reverse()) await share[Symbol.asyncDispose]();
    },
  };
}

s.run();
