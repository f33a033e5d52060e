import { agentSuite } from "tapvisor/testing";
import { suite } from "../../support/suite.ts";
import { fakeAgentFixture } from "../../testing/support/fake-fixtures.ts";

const s = suite("agent-fake conformance");

agentSuite("agent-fake", () => fakeAgentFixture(), { suite: s });

agentSuite("a plain Kata agent", () => fakeAgentFixture((same) => same, { extras: false }), { suite: s });

s.run();
