import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Call, TapvisorError } from "tapvisor/plugin";
import { buildGuest, type GuestPlan } from "./build.ts";
import { findEntry, prune } from "./cache.ts";
import type { GuestFiles } from "./entry.ts";
import { fetchKernel } from "./fetch-kernel.ts";
import { imageTree } from "./image.ts";
import { initrdTree } from "./initrd.ts";
import { findKernel, type KernelFiles, type KernelPlaces } from "./kernel.ts";
import { kernelRelease } from "./kernel-release.ts";
import { BOOT_MODULES, type KernelModule, LATER_MODULES, resolveModules } from "./modules.ts";
import { findParts, type HostParts, listApplets } from "./parts.ts";
import { findProgram } from "./program.ts";
import { recall, remember, requestKey, stampsOf } from "./requests.ts";
import { sharedLibraries } from "./shared-libraries.ts";
import { sourcesOf } from "./tree.ts";

/** Where a guest's pieces come from and where it is kept. */
export interface GuestSources {
  readonly places: KernelPlaces;
  /** The bundled agent. */
  readonly agent: string;
  /** The directory of built guests. */
  readonly cache: string;
}

/**
 * The guest's files, built when they are not there yet. When nothing has changed since the last time only file stamps are looked at.
 *
 * @throws HOST_MISSING, INVALID_INPUT, HOST_LIMIT.
 */
export async function prepareGuest(sources: GuestSources, call: Call, onProgress: (line: string) => void): Promise<GuestFiles> {
  const kernel = (await findKernel(sources.places)) ?? (await fetchKernel(sources.places.unpacked, call, onProgress));
  const parts = await findParts(sources.agent);
  const key = requestKey({ kernel, parts });
  const known = await findRemembered(sources.cache, key);
  if (known) return known;
  onProgress(`building the guest from ${kernel.kernel} and this machine's node, crun, busybox and perl`);
  const plan = await planGuest(kernel, parts, call);
  const inputs = [...sourcesOf(plan.initrd), ...sourcesOf(plan.image), kernel.kernel, ...(await ownFiles())];
  const stamps = await stampsOf([...inputs, (await findProgram("mkfs.erofs")) ?? ""].filter(Boolean));
  const { content, files } = await buildGuest(sources.cache, plan, call);
  await remember(sources.cache, key, { content, stamps });
  await prune(sources.cache);
  onProgress(`the guest is ready in ${files.directory}`);
  return files;
}

/** What `prepareGuest` would return without building anything; `undefined` when it would build. */
export async function findPrepared(sources: GuestSources): Promise<GuestFiles | undefined> {
  const kernel = await findKernel(sources.places);
  if (kernel === undefined) return undefined;
  return findRemembered(sources.cache, requestKey({ kernel, parts: await findParts(sources.agent) }));
}

async function findRemembered(cache: string, key: string): Promise<GuestFiles | undefined> {
  const content = await recall(cache, key);
  return content === undefined ? undefined : findEntry(cache, content);
}

async function planGuest(kernel: KernelFiles, parts: HostParts, call: Call): Promise<GuestPlan> {
  const bootModules = await resolveModules(kernel.modules, BOOT_MODULES);
  await checkRelease(kernel, bootModules);
  const { node, crun, perl } = parts;
  const libraries = (await Promise.all([node, crun, perl].map((program) => sharedLibraries(program, call)))).flat();
  const loaded = new Set(bootModules.map(({ name }) => name));
  const later = new Map<string, readonly KernelModule[]>();
  for (const name of LATER_MODULES) {
    later.set(
      name,
      (await resolveModules(kernel.modules, [name])).filter((module) => !loaded.has(module.name)),
    );
  }
  return {
    kernel: kernel.kernel,
    initrd: initrdTree({ busybox: parts.busybox, modules: bootModules }),
    image: imageTree({ ...parts, applets: await listApplets(parts.busybox, call), libraries, modules: later }),
  };
}

/** A kernel refuses modules of another release, and the guest would end in a panic that does not say so. */
async function checkRelease(kernel: KernelFiles, modules: readonly KernelModule[]): Promise<void> {
  const release = await kernelRelease(kernel.kernel);
  const stranger = modules.find((module) => release !== undefined && module.release !== release);
  if (stranger === undefined) return;
  throw new TapvisorError(
    "INVALID_INPUT",
    `Cannot use the guest's modules ${kernel.modules}: they are for kernel ${stranger.release}, and ${kernel.kernel} is ${release}`,
    { data: { path: "modules", value: kernel.modules, wanted: `the modules of kernel ${release}` } },
  );
}

/** This builder's own files: a change of theirs may change what is built. */
async function ownFiles(): Promise<string[]> {
  const folder = fileURLToPath(new URL(".", import.meta.url));
  return (await readdir(folder)).map((name) => join(folder, name));
}
