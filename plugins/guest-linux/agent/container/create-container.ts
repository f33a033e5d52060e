import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { checkId, messageOf, type OciSpec } from "tapvisor/plugin";
import { type CreateContainerRequest, ociFromWire } from "tapvisor/protocol";
import { type Agent, checkUnused } from "../agent.ts";
import { GuestProcess } from "../process/guest-process.ts";
import { openStreams } from "../process/open-streams.ts";
import { StatusError } from "../status.ts";
import { mountStorages, reserveStorages } from "../storage/mount.ts";
import { planStorages } from "../storage/plan.ts";
import { cgroupOf, limitsCgroupOf, runtimeConfig, stageConfig } from "./bundle.ts";
import { makeCgroup } from "./cgroup.ts";
import { wantedDevices, withDevices } from "./container-devices.ts";
import { type ContainerFiles, GuestContainer } from "./guest-container.ts";
import { withHooks } from "./guest-hooks.ts";
import { releaseContainer } from "./release-container.ts";
import { withUserIds } from "./resolve-user.ts";

/**
 * Mounts a container's storages, finds its devices, writes its bundle, opens its streams and makes its cgroup: all of it, or nothing.
 * @throws FAILED_PRECONDITION without a sandbox, ALREADY_EXISTS, INVALID_ARGUMENT, UNIMPLEMENTED.
 */
export async function createContainer(agent: Agent, request: CreateContainerRequest, signal: AbortSignal): Promise<void> {
  if (!agent.sandbox) throw new StatusError("FAILED_PRECONDITION", "Sandbox not started, impossible to run a new container");
  const id = checkId("container_id", request.container_id);
  if (agent.containers.has(id)) throw new StatusError("ALREADY_EXISTS", `There is a container ${JSON.stringify(id)} already`);
  if (request.sandbox_pidns)
    throw new StatusError("UNIMPLEMENTED", "Cannot share the sandbox's pid namespace: this agent gives each container its own");
  if (!request.OCI) throw new StatusError("INVALID_ARGUMENT", "Cannot create the container: the request has no OCI configuration");
  const { hooks } = agent.sandbox;
  const config = runtimeConfig(id, ociFromWire(request.OCI), agent.paths);
  const devices = wantedDevices(request.devices);
  const files = filesOf(agent, id, config.root.path);
  const steps = planStorages(request.storages, agent.paths, files.directory);
  checkUnused(agent, steps);
  const container = new GuestContainer(
    id,
    files,
    reserveStorages(steps),
    devices.map(({ disk }) => disk),
  );
  agent.containers.set(id, container); // from here on the id is taken, and a removal waits for its turn
  await container.turns.run(async () => {
    try {
      await mkdir(files.directory, { recursive: true, mode: 0o700 });
      // All of them run to their end, also when one fails: what is still being made could not be undone.
      const mounted = mountStorages(steps, container.held, agent, signal);
      const done = await Promise.allSettled([
        openStreams(agent, config.process).then((streams) => container.created(new GuestProcess(streams))),
        withDevices(withHooks(config, hooks), devices, agent, signal).then((whole) => configure(container, whole, mounted)),
        mounted,
        makeCgroup(agent.paths.cgroups, cgroupOf(id)),
      ]);
      for (const each of done) if (each.status === "rejected") throw each.reason;
      await agent.oom.watch(container);
      signal.throwIfAborted();
    } catch (error) {
      await releaseContainer(agent, container).catch((left: unknown) => agent.log.error(messageOf(left), { container: id }));
      throw error;
    }
  });
}

async function configure(container: GuestContainer, given: OciSpec, mounted: Promise<void>): Promise<void> {
  const named = given.process.user.username !== undefined;
  if (named) await mounted; // its files tell who that is
  const config = named ? { ...given, process: await withUserIds(given.process, container.files.rootfs) } : given;
  await (await stageConfig(container.files, config)).commit();
  container.config = config;
}

function filesOf({ paths }: Agent, id: string, rootfs: string): ContainerFiles {
  return {
    directory: join(paths.own, "containers", id),
    rootfs,
    cgroup: join(paths.cgroups, cgroupOf(id)),
    limits: join(paths.cgroups, limitsCgroupOf(id)),
    runtime: { program: paths.crun, root: join(paths.own, "crun") },
  };
}
