import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { TapvisorError } from "tapvisor/plugin";
import { readElf } from "./elf.ts";

/** Needed before the agent can answer and containers can get their files: loaded by the initrd. */
export const BOOT_MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "erofs", "overlay", "virtiofs"] as const;

/** Loaded when the sandbox is up, or by whoever needs them: they lie in the image. */
export const LATER_MODULES = ["virtio_rng", "virtio_mem", "virtio_scsi", "sd_mod", "virtio_net", "loop"] as const;

/** A kernel module's file, with what it says of itself. */
export interface KernelModule {
  /** With underscores, as the kernel shows it in /proc/modules. */
  readonly name: string;
  readonly file: string;
  readonly depends: readonly string[];
  /** The kernel release it was built for. */
  readonly release: string;
}

/**
 * The named modules and all they depend on, each after what it needs; those built into the kernel are left out.
 * Reads the modules themselves, since modules.dep is made by `depmod` and not in a kernel package.
 *
 * @throws HOST_MISSING when a module is absent, compressed or no module.
 */
export async function resolveModules(directory: string, names: readonly string[]): Promise<KernelModule[]> {
  const files = await indexModules(directory);
  const builtin = await builtinModules(directory);
  const resolved: KernelModule[] = [];
  const seen = new Set<string>();
  const visit = async (name: string): Promise<void> => {
    if (seen.has(name) || builtin.has(name)) return;
    seen.add(name);
    const file = files.get(name);
    if (file === undefined) throw missing(directory, name);
    const module = await readModule(name, file);
    for (const dependency of module.depends) await visit(dependency);
    resolved.push(module);
  };
  for (const name of names) await visit(name);
  return resolved;
}

async function indexModules(directory: string): Promise<ReadonlyMap<string, string>> {
  const paths = await readdir(join(directory, "kernel"), { recursive: true }).catch(() => []);
  return new Map(paths.filter((path) => /\.ko(\.\w+)?$/.test(path)).map((path) => [nameOf(path), join(directory, "kernel", path)]));
}

async function builtinModules(directory: string): Promise<ReadonlySet<string>> {
  const list = await readFile(join(directory, "modules.builtin"), "utf8").catch(() => "");
  return new Set(list.split("\n").filter(Boolean).map(nameOf));
}

function nameOf(path: string): string {
  return basename(path)
    .replace(/\.ko(\.\w+)?$/, "")
    .replaceAll("-", "_");
}

async function readModule(name: string, file: string): Promise<KernelModule> {
  if (!file.endsWith(".ko")) {
    throw new TapvisorError("HOST_MISSING", `Cannot use the kernel module ${file}: it is compressed, wanted a plain .ko file`, {
      data: { what: `kernel module ${name}`, found: file, wanted: "an uncompressed .ko file" },
      hint: "unpack the modules (xz -d, zstd -d, gunzip) into a directory of their own and name it in the option modules",
    });
  }
  const info = (await readElf(file))?.section(".modinfo");
  if (info === undefined) {
    throw new TapvisorError("HOST_MISSING", `Cannot use the kernel module ${file}: it is no module of a 64-bit kernel`, {
      data: { what: `kernel module ${name}`, found: file },
    });
  }
  const fields = new Map<string, string>();
  for (const field of info.toString("latin1").split("\0")) {
    const [key = "", value] = split(field);
    if (value !== undefined && !fields.has(key)) fields.set(key, value);
  }
  return {
    name,
    file,
    depends: (fields.get("depends") ?? "").split(",").filter(Boolean).map(nameOf),
    release: (fields.get("vermagic") ?? "").split(" ")[0] ?? "",
  };
}

function split(field: string): [string, string?] {
  const at = field.indexOf("=");
  return at < 0 ? [field] : [field.slice(0, at), field.slice(at + 1)];
}

function missing(directory: string, name: string): TapvisorError {
  return new TapvisorError("HOST_MISSING", `Cannot use the kernel modules in ${directory}: ${name} is neither there nor built in`, {
    data: { what: `kernel module ${name}`, wanted: `${name}.ko below ${directory}/kernel` },
    hint: "the guest needs virtio, erofs, overlay and virtiofs: take a kernel that has them, Debian's linux-image-cloud-amd64 say",
  });
}
