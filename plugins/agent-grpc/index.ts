import { definePlugin } from "tapvisor/plugin";

/** Provides the agent `grpc`: a client of the Kata agent 1.x protocol, over any transport. It has no options. */
export const agentGrpc = definePlugin("agent-grpc", (ctx) => {
  ctx.provide("agent", "grpc", async () => {
    const { connect } = await import("./connect.ts"); // grpc-js takes 50 ms to load: only a sandbox pays for it
    return { needsTransport: true, connect };
  });
});
