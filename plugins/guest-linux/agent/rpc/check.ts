import type { HealthCheckResponse } from "tapvisor/protocol";

/** The agent listens only when it can serve, so being asked is the answer. */
export async function check(): Promise<HealthCheckResponse> {
  return { status: "SERVING" };
}
