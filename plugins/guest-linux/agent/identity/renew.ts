import { writeFileSync } from "node:fs";
import type { Renewal } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { Renewer } from "./renewer.ts";

/**
 * Makes the guest a machine of its own: names, random numbers, clock. `received` is when the request came. Resolves with the process that has done it, which can
 * set the clock again.
 *
 * What the agent's own process holds of its past (the hash seeds of V8, the generator of OpenSSL, its address space) stays: nothing that must differ from another
 * clone's comes from it.
 */
export async function renew({ paths, ...agent }: Agent, request: Renewal, received: bigint, signal: AbortSignal): Promise<Renewer> {
  const { entropy, machineId, hostname } = request.identity;
  const renewer = agent.renewer && !agent.renewer.ended ? agent.renewer : await Renewer.start(paths, signal);
  try {
    writeFileSync(paths.hostnameFile, hostname);
    writeFileSync(paths.machineId, `${machineId}\n`);
    await renewer.set(entropy, request.clock, received, signal);
    return renewer;
  } catch (error) {
    renewer.end();
    throw error;
  }
}
