import { randomBytes } from "node:crypto";
import { TapvisorError } from "../base/errors.ts";
import type { AgentIdentity, RenewedIdentity } from "../contracts/agent-identity.ts";
import type { Call } from "../contracts/holding.ts";
import type { SandboxContext } from "../engine/context.ts";

/** Random bytes of the host for a guest's generator: two of its seeds. */
const ENTROPY_BYTES = 64;

/** Makes a VM that went on from a saved one a machine of its own. @throws GUEST_PROTOCOL when its agent cannot. */
export async function renewIdentity(sb: SandboxContext, call: Call): Promise<RenewedIdentity> {
  const { hostname } = sb.journal.record.config;
  return identityOf(sb).renew({ entropy: randomBytes(ENTROPY_BYTES), machineId: randomBytes(16).toString("hex"), hostname }, call);
}

/** @throws GUEST_PROTOCOL when the agent has no such calls, though its guest says so. */
export function identityOf(sb: SandboxContext): AgentIdentity {
  const { identity } = sb.guest.client;
  if (identity) return identity;
  throw new TapvisorError("GUEST_PROTOCOL", `Cannot save or clone the guest of sandbox "${sb.id}": its agent has no calls for it`, {
    data: { what: "identity" },
  });
}
