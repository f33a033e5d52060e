import { constants } from "node:fs";
import { access, readdir, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { TapvisorError } from "tapvisor/plugin";

/** A kernel and the directory of its modules, `/lib/modules/<release>` say. Absolute paths. */
export interface KernelFiles {
  readonly kernel: string;
  readonly modules: string;
  readonly origin: "options" | "installed" | "cached";
}

/** Where kernels are looked for. */
export interface KernelPlaces {
  /** The user's own, both or none. */
  readonly kernel?: string | undefined;
  readonly modules?: string | undefined;
  /** The directory over `boot` and `lib/modules` of installed kernels: `/`. */
  readonly systemRoot: string;
  /** The directory that holds unpacked kernel packages, one directory a release. */
  readonly unpacked: string;
}

const RELEASE = /^vmlinuz-(.+-cloud-amd64)$/;

/**
 * The kernel to boot: the user's own, else the newest installed Debian cloud kernel, else the newest unpacked one; `undefined` when there is
 * none. Only looks.
 *
 * @throws INVALID_INPUT when the user's kernel or modules do not exist, or only one of them is given.
 */
export async function findKernel(places: KernelPlaces): Promise<KernelFiles | undefined> {
  if (places.kernel !== undefined || places.modules !== undefined) return checkOwn(places.kernel, places.modules);
  const installed = await newest(await releasesIn(places.systemRoot), places.systemRoot, "installed");
  if (installed) return installed;
  const releases = await readdir(places.unpacked).catch(() => []);
  for (const release of byVersion(releases)) {
    const found = await newest([release], join(places.unpacked, release), "cached");
    if (found) return found;
  }
  return undefined;
}

/** The newest of these releases whose kernel and modules are both there and readable. */
export async function newest(releases: readonly string[], root: string, origin: KernelFiles["origin"]): Promise<KernelFiles | undefined> {
  for (const release of byVersion(releases)) {
    const kernel = join(root, "boot", `vmlinuz-${release}`);
    if (!(await isReadable(kernel))) continue;
    for (const libraries of ["lib", "usr/lib"]) {
      const modules = join(root, libraries, "modules", release);
      if (await isReadable(join(modules, "kernel"))) return { kernel, modules, origin };
    }
  }
  return undefined;
}

/** The releases of the cloud kernels in `<root>/boot`. */
export async function releasesIn(root: string): Promise<string[]> {
  const files = await readdir(join(root, "boot")).catch(() => []);
  return files.flatMap((file) => RELEASE.exec(file)?.[1] ?? []);
}

function byVersion(releases: readonly string[]): string[] {
  return [...releases].sort((a, b) => b.localeCompare(a, "en", { numeric: true }));
}

async function checkOwn(kernel: string | undefined, modules: string | undefined): Promise<KernelFiles> {
  return {
    kernel: await checkPath("kernel", kernel, "a file: a bzImage or an ELF vmlinux", (stats) => stats.isFile()),
    modules: await checkPath("modules", modules, `a directory of that kernel's modules, /lib/modules/<release> say`, (stats) =>
      stats.isDirectory(),
    ),
    origin: "options",
  };
}

async function checkPath(
  option: string,
  value: string | undefined,
  wanted: string,
  fits: (stats: { isFile(): boolean; isDirectory(): boolean }) => boolean,
): Promise<string> {
  if (value === undefined) throw invalid(option, value, "it is not given while its partner is", wanted);
  const path = resolve(value);
  const stats = await stat(path).catch((error: NodeJS.ErrnoException) => error.code ?? "it cannot be looked at");
  if (typeof stats === "string") throw invalid(option, value, stats === "ENOENT" ? "it does not exist" : stats, wanted);
  if (!fits(stats)) throw invalid(option, value, `${basename(path)} is of another kind`, wanted);
  if (!(await isReadable(path))) throw invalid(option, value, "it is not readable for this user", wanted);
  return path;
}

function invalid(option: string, value: string | undefined, found: string, wanted: string): TapvisorError {
  return new TapvisorError("INVALID_INPUT", `Cannot use the guest's ${option} ${JSON.stringify(value ?? "")}: ${found}, wanted ${wanted}`, {
    data: { path: option, value, wanted },
    hint: "a kernel of your own needs both: kernel (the file) and modules (the directory); leave both out for Debian's cloud kernel",
  });
}

async function isReadable(path: string): Promise<boolean> {
  return access(path, constants.R_OK).then(
    () => true,
    () => false,
  );
}
