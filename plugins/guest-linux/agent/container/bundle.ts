import { rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { OciMount, OciProcess, OciSpec } from "tapvisor/plugin";
import { checkOpenPath, type GuestPaths } from "../guest-paths.ts";
import { StatusError } from "../status.ts";
import { checkSysctl } from "./check-sysctl.ts";
import type { ContainerFiles } from "./guest-container.ts";
import { checkLimits, runtimeLimits } from "./limits.ts";

/** File systems that a container may have made for it; what comes from elsewhere is a bind mount from an open directory. */
const FRESH_MOUNTS: ReadonlySet<string> = new Set(["cgroup", "cgroup2", "devpts", "mqueue", "proc", "sysfs", "tmpfs"]);

/** crun 1.8 refuses configurations of another version than 1.0, though it knows what 1.1 has added. */
const OCI_VERSION = "1.0.2";

/** The agent runs containers in a hierarchy of its own, whatever the request says. */
export function cgroupOf(id: string): string {
  return `/tapvisor/${id}`;
}

/** Its processes and their limits, below what counts for the container. */
export function limitsCgroupOf(id: string): string {
  return `${cgroupOf(id)}/container`;
}

/**
 * The runtime's configuration for a container: what the request says, checked, with the parts that only the guest can decide.
 * @throws FAILED_PRECONDITION for a pid namespace, INVALID_ARGUMENT naming the field.
 */
export function runtimeConfig(id: string, spec: OciSpec, paths: GuestPaths): OciSpec {
  checkOpenPath(paths, "root.path", spec.root.path);
  checkProcess(spec.process);
  for (const mount of spec.mounts) checkMount(mount, paths);
  checkLimits(spec.linux.resources ?? {});
  checkSysctl(spec.linux.sysctl);
  const config = {
    ...spec,
    process: killable(spec.process),
    ociVersion: OCI_VERSION,
    mounts: spec.mounts.map((mount) => ({ ...mount, source: mount.source || mount.type })),
    linux: { ...spec.linux, namespaces: namespacesOf(spec), cgroupsPath: limitsCgroupOf(id) },
  };
  // A string of the runtime ends at the first NUL, so what was checked here would not be what is used there.
  if (JSON.stringify(config).includes("\\u0000"))
    throw new StatusError("INVALID_ARGUMENT", "Cannot use the OCI configuration: it holds a NUL character");
  return config;
}

/** The least that crun sets: it takes 0 for not set, and then the process has what the agent has. */
const LEAST_OOM_SCORE_ADJ = 1;

/** The agent itself is spared when memory runs out; what it starts for a container is not, or nothing could be killed. */
export function killable(process: OciProcess): OciProcess & { readonly oomScoreAdj: number } {
  return { ...process, oomScoreAdj: Math.max(LEAST_OOM_SCORE_ADJ, process.oomScoreAdj ?? 0) };
}

/** @throws INVALID_ARGUMENT naming the field. */
export function checkProcess(process: OciProcess): void {
  if (!process.args[0]) throw new StatusError("INVALID_ARGUMENT", "Cannot use process.args: it has no command");
  if (!process.cwd.startsWith("/")) {
    throw new StatusError("INVALID_ARGUMENT", `Cannot use process.cwd ${JSON.stringify(process.cwd)}: wanted an absolute path`);
  }
}

function checkMount({ destination, type, source, options }: OciMount, paths: GuestPaths): void {
  const field = `mounts of ${JSON.stringify(destination)}`;
  if (!destination.startsWith("/")) throw new StatusError("INVALID_ARGUMENT", `Cannot use ${field}: wanted an absolute destination`);
  if (type === "bind" || options.includes("bind") || options.includes("rbind")) checkOpenPath(paths, `the source of the ${field}`, source);
  else if (!FRESH_MOUNTS.has(type)) {
    throw new StatusError(
      "INVALID_ARGUMENT",
      `Cannot use ${field}: there is no type ${JSON.stringify(type)}, wanted bind or ${[...FRESH_MOUNTS].join(", ")}`,
    );
  }
}

/**
 * Without a mount namespace of its own the runtime would change the guest's root, without one for cgroups the container would see the guest's. Kata's agents
 * add the pid namespace, and refuse one that is given.
 */
function namespacesOf({ linux: { namespaces } }: OciSpec): OciSpec["linux"]["namespaces"] {
  if (namespaces.some(({ type }) => type === "pid")) {
    throw new StatusError("FAILED_PRECONDITION", "Cannot use linux.namespaces: it has a pid namespace, which the agent adds itself");
  }
  const joined = namespaces.find(({ path }) => path !== undefined);
  if (joined)
    throw new StatusError("INVALID_ARGUMENT", `Cannot join the ${joined.type} namespace ${JSON.stringify(joined.path)}: wanted new ones`);
  const types = new Set([...namespaces.map(({ type }) => type), "mount", "pid", "cgroup"]);
  return [...types].map((type) => ({ type }));
}

/** Writes the configuration where the runtime looks for it. Calling what it answers puts it there: until then it is as it was, also after a failure. */
export async function stageConfig(
  { directory }: ContainerFiles,
  config: OciSpec,
): Promise<{ commit(): Promise<void>; discard(): Promise<void> }> {
  const path = join(directory, "config.json");
  const staged = `${path}.new`;
  const { resources } = config.linux;
  const bundled = { ...config, linux: { ...config.linux, ...(resources && { resources: runtimeLimits(resources) }) } };
  const discard = () => rm(staged, { force: true });
  try {
    await writeFile(staged, JSON.stringify(bundled));
  } catch (error) {
    await discard();
    throw error;
  }
  return { commit: () => rename(staged, path), discard };
}
