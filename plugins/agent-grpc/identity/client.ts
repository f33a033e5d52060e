import { type AgentClient, type AgentIdentity, TapvisorError } from "tapvisor/plugin";
import { RENEWAL_VERSION, guestServiceDefinition as rpc, type VersionCheckResponse } from "tapvisor/protocol";
import type { Link } from "../link.ts";
import type { Send } from "../sender.ts";
import { keep } from "./keep.ts";
import { renew } from "./renew.ts";
import { warmUp } from "./warm-up.ts";

const EMPTY = {};

/** What a guest that is saved can do; nothing where it does not offer that in its first answer. */
export function identityCalls(
  link: Link,
  send: Send,
  version: VersionCheckResponse | undefined,
  client: () => AgentClient,
): { readonly identity?: AgentIdentity } {
  if (version?.tapvisor_renewal !== RENEWAL_VERSION) return {};
  return {
    identity: {
      warmUp: (call) => warmUp(client(), send, call),
      prepareToBeSaved: async (call) => {
        await send("PrepareToBeSaved", rpc.PrepareToBeSaved, EMPTY, call);
        await keep(link, call);
      },
      renew: async (identity, call) => {
        const { entropy, machineId, hostname } = identity;
        want(entropy.length === 64, "entropy", `${entropy.length} bytes`, "64 bytes");
        want(/^[0-9a-f]{32}$/.test(machineId), "machineId", machineId, "32 lower-case hexadecimal digits");
        want(/^[\x21-\x7e]{1,64}$/.test(hostname), "hostname", hostname, "1 to 64 characters of ASCII without blanks");
        return renew(link, identity, call);
      },
    },
  };
}

function want(holds: boolean, path: string, value: unknown, wanted: string): void {
  if (holds) return;
  throw new TapvisorError("INVALID_INPUT", `Cannot use ${path} ${JSON.stringify(value)}: wanted ${wanted}`, {
    data: { path, value, wanted },
  });
}
