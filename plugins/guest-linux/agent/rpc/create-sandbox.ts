import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "tapvisor/plugin";
import type { CreateSandboxRequest, Empty } from "tapvisor/protocol";
import { type Agent, checkUnused, type Sandbox } from "../agent.ts";
import { StatusError } from "../status.ts";
import { mountStorages, reserveStorages, unmountStorages } from "../storage/mount.ts";
import { planStorages } from "../storage/plan.ts";
import type { RpcContext } from "../unary.ts";

/** The kernel's limit; a longer name is cut, as Kata does. */
const HOSTNAME_BYTES = 64;

/** Mounts what all containers share and names the guest: all of it, or nothing. A second sandbox is refused while there is one. */
export async function createSandbox(agent: Agent, request: CreateSandboxRequest, { signal }: RpcContext): Promise<Empty> {
  if (agent.sandbox) throw new StatusError("ALREADY_EXISTS", `There is a sandbox already: ${JSON.stringify(agent.sandbox.id)}`);
  if (request.sandbox_pidns)
    throw new StatusError("UNIMPLEMENTED", "Cannot share a pid namespace in the sandbox: each container has its own");
  if (/[\x00-\x1f]/.test(request.hostname)) throw new StatusError("INVALID_ARGUMENT", "Cannot use hostname: it holds control characters");
  const steps = planStorages(request.storages, agent.paths, join(agent.paths.own, "sandbox"));
  if (request.dns.length > 0) agent.log.warn("name servers are not set: the guest has no network yet");
  checkUnused(agent, steps);
  const sandbox: Sandbox = { id: request.sandbox_id, held: reserveStorages(steps) };
  agent.sandbox = sandbox; // from here on a second request is refused
  try {
    await mountStorages(steps, sandbox.held, agent, signal);
    if (request.hostname !== "") await writeFile(agent.paths.hostnameFile, request.hostname.slice(0, HOSTNAME_BYTES));
    signal.throwIfAborted();
  } catch (error) {
    await unmountStorages(sandbox.held, agent).catch((left: unknown) => agent.log.error(messageOf(left)));
    agent.sandbox = undefined;
    throw error;
  }
  // The first container will need the pipes, and until it comes there is time; then for what may be plugged in later.
  void agent.fifos
    .warm()
    .catch((error: unknown) => agent.log.error(messageOf(error)))
    .then(() => agent.modules.loadAhead());
  return {};
}
