import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { type BootAssets, TapvisorError } from "tapvisor/plugin";
import type { GuestFilesOptions } from "./options.ts";

const FIELDS = ["kernel", "initrd", "image"] as const;

/**
 * The files as a VM boots them, absolute.
 *
 * @throws HOST_MISSING when one does not exist; INVALID_INPUT when one is no file, is empty, or is not readable, or there is nothing to boot
 * into.
 */
export async function checkFiles(options: GuestFilesOptions): Promise<BootAssets> {
  if (options.initrd === undefined && options.image === undefined) {
    throw new TapvisorError("INVALID_INPUT", "Cannot boot the guest: guest-files has neither initrd nor image, wanted at least one", {
      data: { path: "guest-files.initrd", wanted: "initrd, image or both" },
      hint: "a kernel alone has nothing to start: name the initrd, or the image with the agent in it",
    });
  }
  const checked: Partial<Record<(typeof FIELDS)[number], string>> = {};
  for (const field of FIELDS) {
    const path = options[field];
    if (path !== undefined) checked[field] = await checkFile(`guest-files.${field}`, path);
  }
  return {
    kernel: resolve(options.kernel),
    ...checked,
    kernelParameters: options.kernelParameters ?? [],
    agentPort: options.agentPort ?? "agent.channel.0",
    virtioMem: options.virtioMem ?? false,
  };
}

async function checkFile(field: string, path: string): Promise<string> {
  const file = resolve(path);
  const stats = await stat(file).catch((error: NodeJS.ErrnoException) => error);
  if (stats instanceof Error) {
    if (stats.code !== "ENOENT" && stats.code !== "ENOTDIR") throw unusable(field, file, stats.message);
    throw new TapvisorError("HOST_MISSING", `Cannot boot the guest: ${field} ${file} does not exist`, {
      data: { what: field, wanted: file },
      hint: `correct ${field}; a relative path starts at the working directory, ${process.cwd()}`,
    });
  }
  if (!stats.isFile()) throw unusable(field, file, "it is no regular file");
  if (stats.size === 0) throw unusable(field, file, "it is empty");
  await access(file, constants.R_OK).catch(() => {
    throw unusable(field, file, "this user may not read it");
  });
  return file;
}

function unusable(field: string, file: string, why: string): TapvisorError {
  return new TapvisorError("INVALID_INPUT", `Cannot boot the guest from ${field} ${file}: ${why}, wanted a readable file`, {
    data: { path: field, value: file, wanted: "a readable, non-empty file" },
  });
}
