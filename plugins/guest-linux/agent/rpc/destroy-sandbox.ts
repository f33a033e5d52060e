import { rmdir } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "tapvisor/plugin";
import type { Empty } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { releaseContainer } from "../container/release-container.ts";
import { unmountStorages } from "../storage/mount.ts";
import { dropCopies } from "../system/copy-file.ts";
import { removeResolvConf } from "../system/resolv-conf.ts";

/** Removes every container and what the sandbox has mounted. Everything is tried; no sandbox is success. */
export async function destroySandbox(agent: Agent): Promise<Empty> {
  const reasons: string[] = [];
  const attempt = (work: Promise<unknown>) => work.catch((error: unknown) => reasons.push(messageOf(error)));
  await Promise.all(
    [...agent.containers.values()].map((container) => attempt(container.turns.run(() => releaseContainer(agent, container)))),
  );
  agent.oom.end();
  await attempt(agent.copyTurns.run(() => dropCopies(agent)));
  await attempt(removeResolvConf(agent.paths));
  if (agent.sandbox) await attempt(unmountStorages(agent.sandbox.held, agent));
  await attempt(agent.fifos.clear());
  await rmdir(join(agent.paths.cgroups, "tapvisor")).catch(() => {}); // it holds nothing, and is made anew when needed
  if (reasons.length > 0) throw new Error(`Cannot remove all of the sandbox: ${reasons.join("; ")}`);
  agent.sandbox = undefined;
  return {};
}
