import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "tapvisor/plugin";
import type { CreateSandboxRequest, Empty, KernelModuleMessage } from "tapvisor/protocol";
import { type Agent, checkUnused, type Sandbox } from "../agent.ts";
import { checkHookPath, findHooks } from "../container/guest-hooks.ts";
import { StatusError } from "../status.ts";
import { mountStorages, reserveStorages, unmountStorages } from "../storage/mount.ts";
import { planStorages } from "../storage/plan.ts";
import { checkDns, removeResolvConf, writeResolvConf } from "../system/resolv-conf.ts";
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
  checkDns(request.dns);
  checkHookPath(request.guest_hook_path);
  for (const module of request.kernel_modules) checkModule(module);
  checkUnused(agent, steps);
  const sandbox: Sandbox = { id: request.sandbox_id, held: reserveStorages(steps), hooks: {} };
  agent.sandbox = sandbox; // from here on a second request is refused
  try {
    for (const { name, parameters } of request.kernel_modules) await agent.modules.load(name, parameters);
    await mountStorages(steps, sandbox.held, agent, signal);
    await writeResolvConf(agent.paths, request.dns);
    sandbox.hooks = await findHooks(request.guest_hook_path);
    if (request.hostname !== "") await writeFile(agent.paths.hostnameFile, request.hostname.slice(0, HOSTNAME_BYTES));
    signal.throwIfAborted();
  } catch (error) {
    await removeResolvConf(agent.paths);
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

/** What is loaded stays, whatever becomes of the sandbox: to take a driver out is not safe. */
function checkModule({ name, parameters }: KernelModuleMessage): void {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_-]{0,55}$/.test(name)) {
    throw new StatusError("INVALID_ARGUMENT", `Cannot use the kernel module ${JSON.stringify(name)}: wanted a module's name`);
  }
  const bad = parameters.find((parameter) => !/^[A-Za-z0-9_][A-Za-z0-9_-]*(=[^\x00-\x1f\x7f]*)?$/.test(parameter));
  if (bad === undefined) return;
  throw new StatusError(
    "INVALID_ARGUMENT",
    `Cannot use the parameter ${JSON.stringify(bad)} of the kernel module ${name}: wanted name=value`,
  );
}
