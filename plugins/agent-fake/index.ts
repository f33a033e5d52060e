import { definePlugin } from "tapvisor/plugin";
import { type FakeWorld, sharedFakeWorld } from "tapvisor/testing";
import { fakeClient } from "./client.ts";
import { Connection, vmOf } from "./connection.ts";

export interface AgentFakeOptions {
  /** The world to find the guest in: that of `hypervisorFake`; the process's shared one by default. */
  readonly world?: FakeWorld;
  /** The guest has the calls that Kata's has not: it parks vCPUs and lets go of disks. `true` by default; otherwise it is a plain Kata guest. */
  readonly extras?: boolean;
}

/** The agent of the guests in a fake world. Agent `fake`; needs no transport. */
export const agentFake = definePlugin<AgentFakeOptions>("agent-fake", (ctx, { world = sharedFakeWorld(), extras = true }) => {
  ctx.provide("agent", "fake", () => ({
    needsTransport: false,
    async connect(target, call) {
      const connected = world.perform("agent.connect", { sandbox: target.sandbox }, call.signal, () =>
        vmOf(world, target).whenRunning(call.signal, () => vmOf(world, target)),
      );
      return fakeClient(new Connection(world, await connected), { extras });
    },
  }));
});
