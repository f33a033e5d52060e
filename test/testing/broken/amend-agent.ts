import type { Agent, AgentClient } from "tapvisor/plugin";
import type { AgentFixture } from "tapvisor/testing";
import { fakeAgentFixture } from "../support/fake-fixtures.ts";

export type MakeAgent = () => Promise<AgentFixture>;

/** The fake agent with something changed. */
export const amended =
  (amend: (agent: Agent) => Agent): MakeAgent =>
  () =>
    fakeAgentFixture(amend);

/** With another client; `amend` is asked for each. */
export const client = (amend: (client: AgentClient) => Partial<AgentClient>): MakeAgent =>
  amended((agent) => ({
    ...agent,
    connect: async (target, call) => {
      const honest = await agent.connect(target, call);
      return { ...honest, ...amend(honest) };
    },
  }));

/** A call that nobody gives up. */
export const deaf = { signal: new AbortController().signal };
