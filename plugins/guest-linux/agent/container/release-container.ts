import { access, rm } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, withDeadline } from "tapvisor/plugin";
import type { Agent } from "../agent.ts";
import { deleteArguments } from "../runtime/crun.ts";
import { unmountStorages } from "../storage/mount.ts";
import { killCgroup, removeCgroup } from "./cgroup.ts";
import type { GuestContainer } from "./guest-container.ts";

/** What the release itself may take when the request names no limit, ms. */
const RELEASE_MS = 10_000;

/**
 * Ends all processes of a container and gives back everything it holds, whatever of it there is. Every step is tried; the container stays known, for
 * another attempt, unless all have succeeded.
 * @throws Error with the reasons.
 */
export async function releaseContainer(agent: Agent, container: GuestContainer, timeoutMs = RELEASE_MS): Promise<void> {
  const { id, files, held } = container;
  const reasons: string[] = [];
  const attempt = (work: Promise<unknown>) => work.catch((error: unknown) => reasons.push(messageOf(error)));
  await attempt(Promise.all([killCgroup(files.cgroup), container.fileWork.close()]));
  await allEnded(container, timeoutMs); // what processes still use cannot be given back
  await agent.oom.forget(id);
  for (const process of container.processes) process.discard();
  if (await exists(join(files.runtime.root, id))) await attempt(agent.crun(deleteArguments(files.runtime, id)));
  await attempt(removeCgroup(files.cgroup));
  await attempt(unmountStorages(held, agent));
  // Only when nothing is mounted below it any more: what is removed must be the agent's own.
  if (held.targets.length === 0) await attempt(rm(files.directory, { recursive: true, force: true }));
  if (reasons.length > 0) throw new Error(`Cannot remove all of the container ${id}: ${reasons.join("; ")}`);
  agent.containers.delete(id);
}

async function allEnded(container: GuestContainer, timeoutMs: number): Promise<void> {
  const running = [...container.processes].filter((process) => process.state !== "created");
  const ended = Promise.all(running.map((process) => process.ended));
  try {
    await withDeadline({ what: `the processes of ${container.id}`, timeoutMs }, () => ended);
  } catch (error) {
    for (const process of running) process.killRuntime(); // so that it is no longer in the way of the next attempt
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
