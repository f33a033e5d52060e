import type { AgentIdentity } from "tapvisor/plugin";
import type { Connection } from "./connection.ts";

/** What a guest that is saved and goes on as another does. */
export function fakeIdentity(connection: Connection): AgentIdentity {
  const { guest } = connection.vm;
  return {
    warmUp: (call) => connection.call("agent.warmUp", undefined, call, () => guest.warmUp()),
    prepareToBeSaved: (call) => connection.call("agent.prepareToBeSaved", undefined, call, () => guest.prepareToBeSaved()),
    renew: (identity, call) => connection.call("agent.renew", undefined, call, () => guest.identity.renew(identity)),
  };
}
