import type { Agent, Call, Hypervisor, Transport, VmGrant } from "tapvisor/plugin";

/** What VMs run on, and what reaches their guests. */
export interface Host {
  readonly hypervisor: Hypervisor;
  agent(): Promise<Agent>;
  transport(): Promise<Transport>;
}

const NAME = "rehearsal";

/**
 * Does with a guest what the creation of a sandbox will, and takes it back. Under emulation the processor's code is translated when it first runs, in each VM
 * anew: that is two thirds of what a creation takes. The guest still becomes a machine of its own only when it is somebody's.
 */
export async function rehearse(host: Host, { sandbox, runDirectory, agentEndpoint }: VmGrant, call: Call): Promise<void> {
  const agent = await host.agent();
  const transport = agent.needsTransport ? await host.transport() : undefined;
  const client = await agent.connect({ sandbox, endpoint: agentEndpoint, transport, runDirectory }, call);
  try {
    await Promise.all([client.guestDetails(call), client.createSandbox({ hostname: NAME, sandbox: NAME, storages: [] }, call)]);
    await client.destroySandbox(call);
  } finally {
    await client.close();
  }
}
