import type { Empty } from "tapvisor/protocol";
import { StatusError } from "../status.ts";

export async function startTracing(): Promise<Empty> {
  throw new StatusError("FAILED_PRECONDITION", "Cannot start tracing: this agent has nobody to send spans to");
}

export async function stopTracing(): Promise<Empty> {
  throw new StatusError("FAILED_PRECONDITION", "Cannot stop tracing: it has not been started");
}
