import { readdir, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { type Call, isTapvisorError, messageOf, TapvisorError } from "tapvisor/plugin";
import { newWorkDirectory, removeAbandoned } from "./cache.ts";
import { type KernelFiles, newest, releasesIn } from "./kernel.ts";
import { findProgram, runProgram } from "./program.ts";

/** The package that always depends on the present kernel package. */
const META_PACKAGE = "linux-image-cloud-amd64";
const DOWNLOAD_TIMEOUT_MS = 600_000;

/**
 * Downloads Debian's present cloud kernel package and unpacks it below `unpacked`, without installing it; needs no root.
 * Package lists are refreshed only when the package is not known and this is root. The package manager checks signatures.
 *
 * @throws HOST_MISSING with what an administrator can do. Deadline: 10 minutes for each step.
 */
export async function fetchKernel(unpacked: string, call: Call, onProgress: (line: string) => void): Promise<KernelFiles> {
  for (const program of ["apt-cache", "apt-get", "dpkg-deb"]) {
    if ((await findProgram(program)) === undefined) throw cannotFetch(`there is no ${program} here`);
  }
  await removeAbandoned(unpacked);
  const work = await newWorkDirectory(unpacked);
  try {
    const archive = await download(work, call, onProgress);
    onProgress(`unpacking ${basename(archive)}`);
    const root = join(work, "root");
    await runProgram("dpkg-deb", ["-x", archive, root], call, { action: "unpack the kernel package", timeoutMs: 120_000 });
    const [release] = await releasesIn(root);
    if (release === undefined || !(await newest([release], root, "cached"))) throw cannotFetch(`${basename(archive)} holds no kernel`);
    return await keep(root, unpacked, release);
  } catch (error) {
    if (isTapvisorError(error) && error.code !== "INTERNAL") throw error;
    throw cannotFetch(messageOf(error), error);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function download(work: string, call: Call, onProgress: (line: string) => void): Promise<string> {
  const isRoot = process.getuid?.() === 0;
  const refresh = async () => {
    onProgress("refreshing the package lists (apt-get update)");
    await runProgram("apt-get", ["update"], call, { action: "refresh the package lists", timeoutMs: DOWNLOAD_TIMEOUT_MS });
  };
  const get = async () => {
    const wanted = await resolveKernelPackage(call);
    if (wanted === undefined) return undefined;
    onProgress(`downloading the kernel package ${wanted}`);
    await runProgram("apt-get", ["download", wanted], call, { action: `download ${wanted}`, timeoutMs: DOWNLOAD_TIMEOUT_MS, cwd: work });
    const archive = (await readdir(work)).find((file) => file.endsWith(".deb"));
    return archive && join(work, archive);
  };
  let archive = await get().catch((error: unknown) => {
    if (!isRoot || (isTapvisorError(error) && error.code !== "INTERNAL")) throw error;
    call.log.debug({ error }, "the package lists may be out of date");
    return undefined;
  });
  if (archive === undefined && isRoot) {
    await refresh();
    archive = await get();
  }
  if (archive === undefined) throw cannotFetch(`the package ${META_PACKAGE} is not known here`);
  return archive;
}

/** `name=version` of the kernel package of today; `undefined` when the package lists do not know it. */
async function resolveKernelPackage(call: Call): Promise<string | undefined> {
  const args = ["show", "--no-all-versions", META_PACKAGE];
  const record = await runProgram("apt-cache", args, call, { action: `look up ${META_PACKAGE}`, timeoutMs: 30_000 }).catch(
    (error: unknown) => {
      if (isTapvisorError(error) && error.code === "INTERNAL") return ""; // apt-cache fails for a package it does not know
      throw error;
    },
  );
  return parseDependency(record);
}

/** The kernel package a record of the meta package depends on, as `apt-get download` takes it. */
export function parseDependency(record: string): string | undefined {
  const [, name, version] = /^Depends:.*?\b(linux-image-\d\S*)(?: \(= (\S+)\))?/m.exec(record) ?? [];
  return name && (version ? `${name}=${version}` : name);
}

async function keep(root: string, unpacked: string, release: string): Promise<KernelFiles> {
  await rm(join(root, "usr", "share"), { recursive: true, force: true });
  const place = join(unpacked, release);
  await rename(root, place).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error; // else another process was faster with the same package
  });
  const kept = await newest([release], place, "cached");
  if (kept === undefined) throw cannotFetch(`${place} is incomplete: remove it`);
  return kept;
}

function cannotFetch(why: string, cause?: unknown): TapvisorError {
  return new TapvisorError("HOST_MISSING", `Cannot get a kernel for the guest: ${why}`, {
    data: { what: "guest kernel", wanted: `the Debian package ${META_PACKAGE}, or the options kernel and modules` },
    cause,
    hint: `ask an administrator: sudo apt-get update && sudo apt-get install ${META_PACKAGE}; or give the options kernel and modules`,
  });
}
