import assert from "node:assert/strict";
import { rejects } from "../conformance/expect.ts";

/** `work` must be refused by the agent, with one of these gRPC statuses when some are given. */
export async function refuses(what: string, work: Promise<unknown>, ...statuses: readonly string[]): Promise<void> {
  const error = await rejects(what, work, "AGENT_FAILED");
  const status = String(Reflect.get(error.data, "status"));
  if (statuses.length > 0) assert.ok(statuses.includes(status), `${what} must be ${statuses.join(" or ")}, and is ${status}`);
}
