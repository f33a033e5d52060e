import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { type Agent, type Bytes, definePlugin, TapvisorError, throwIfAborted, type VmIntent } from "tapvisor/plugin";
import { agentFake } from "tapvisor/plugins/agent-fake";
import { FakeWorld } from "tapvisor/testing";
import { providerOf } from "../../../support/fake-guest.ts";

/** Between two tries to connect to a guest that still boots, ms. */
const TRY_EVERY_MS = 10;

/**
 * The agent of a guest that is a process with a socket: what is inside is a fake one's, and it is there as long as the socket is open. Agent
 * `unix`.
 */
export const unixAgent = definePlugin<{ readonly world?: FakeWorld }>("unix-agent", async (ctx, { world = new FakeWorld() }) => {
  const inside = await providerOf<Agent>(agentFake({ world }), "agent", "fake");
  ctx.provide("agent", "unix", () => ({
    needsTransport: false,
    async connect({ sandbox, endpoint, ...target }, call) {
      if (endpoint.kind !== "unix") throw new TapvisorError("UNSUPPORTED", "Cannot reach the agent", { data: { what: endpoint.kind } });
      const socket = await reach(endpoint.path, call.signal);
      const nonce = `process-${String(await once(socket, "data"))}-of-the-guest`;
      bootInside(world, { sandbox, nonce, runDirectory: target.runDirectory });
      socket.once("close", () => world.vm(sandbox)?.intent.nonce === nonce && world.killVm(sandbox));
      const client = await inside.connect({ ...target, sandbox, endpoint: { kind: "memory", sandbox } }, call);
      return {
        ...client,
        async close() {
          socket.removeAllListeners("close").destroy();
          await client.close();
        },
      };
    },
  }));
});

/** A connection to a guest that has booted so far, or will. */
async function reach(path: string, signal: AbortSignal): Promise<Socket> {
  for (;;) {
    throwIfAborted(signal, "the connection to the guest");
    const socket = connect(path);
    const [connected] = await Promise.allSettled([once(socket, "connect")]);
    if (connected.status === "fulfilled") return socket.on("error", () => {});
    await delay(TRY_EVERY_MS);
  }
}

/** What is inside a machine when its agent is first connected to; what was inside an earlier one of the sandbox has gone with it. */
function bootInside(world: FakeWorld, machine: Pick<VmIntent, "sandbox" | "nonce" | "runDirectory">): void {
  const earlier = world.vm(machine.sandbox)?.intent.nonce;
  if (earlier === machine.nonce) return;
  if (earlier !== undefined) world.releaseVm(machine.sandbox, earlier);
  const boot = { kernel: "/dev/null", kernelParameters: [], agentPort: "none" };
  world.startVm({ ...machine, vcpus: 1, memoryBytes: 1 as Bytes, boot, detached: true });
}
