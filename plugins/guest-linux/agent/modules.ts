import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "tapvisor/plugin";
import type { AgentLog } from "./log.ts";
import type { RunTool } from "./runtime/run-tool.ts";
import { StatusError } from "./status.ts";

/** When the drivers of disks are loaded that nobody has needed before, ms after the sandbox's creation: the time until then is the first container's. */
const DISKS_AFTER_MS = 2000;

/** One shell for all modules of a group. One that another module needed before is loaded already. */
const SCRIPT = `
for file; do
  name=\${file##*/}
  [ -d /sys/module/\${name%.ko} ] || insmod "$file" || failed=1
done
[ -z "$failed" ]`;

/**
 * The kernel modules that the boot does not wait for, each group loaded with its first call. No call rejects: what cannot be loaded is logged, and
 * whoever waits for its device will not see it.
 */
export interface Modules {
  /** For memory that is plugged in. */
  memory(): Promise<void>;
  /** For SCSI disks. */
  disks(): Promise<void>;
  /** For network cards. */
  network(): Promise<void>;
  /** One that is asked for by name, with these parameters; one that is loaded stays as it is. @throws NOT_FOUND, FAILED_PRECONDITION. */
  load(name: string, parameters: readonly string[]): Promise<void>;
  /** Has all of them loaded before they are needed: those for memory now, since nobody asks the agent before that is plugged in. */
  loadAhead(): Promise<void>;
  /** Loads all of them, and resolves when that is done and nothing more is due. */
  loadAll(): Promise<void>;
}

/** `index` names the files to load for each module, first to last; without one there is nothing to load. `loaded` is where the kernel shows its modules. */
export function lateModules(index: string, busybox: RunTool, log: AgentLog, loaded = "/sys/module"): Modules {
  const once = (...names: readonly string[]) => {
    let loading: Promise<void> | undefined;
    return () => {
      loading ??= loadAll(index, names, busybox).catch((error: unknown) => log.error(`Cannot load kernel modules: ${messageOf(error)}`));
      return loading;
    };
  };
  const [memory, disks, network] = [once("virtio_mem"), once("virtio_scsi", "sd_mod"), once("virtio_net")];
  let due: NodeJS.Timeout | undefined;
  return {
    memory,
    disks,
    network,
    async load(name, parameters) {
      const module = name.replaceAll("-", "_"); // as the kernel calls it
      if (await exists(join(loaded, module))) return;
      const files = (await readIndex(index))[module];
      if (!files)
        throw new StatusError("NOT_FOUND", `Cannot load the kernel module ${JSON.stringify(name)}: this guest has no such module`);
      const [last, ...needed] = files.toReversed();
      try {
        if (needed.length > 0) await busybox(["sh", "-c", SCRIPT, "sh", ...needed.reverse()]);
        if (last !== undefined) await busybox(["insmod", last, ...parameters]);
      } catch (error) {
        throw new StatusError(
          "FAILED_PRECONDITION",
          `Cannot load the kernel module ${JSON.stringify(name)}: ${messageOf(error)}`,
          undefined,
          {
            cause: error,
          },
        );
      }
    },
    async loadAhead() {
      await memory();
      due = setTimeout(disks, DISKS_AFTER_MS).unref();
    },
    async loadAll() {
      await Promise.all([memory(), disks(), network()]);
      clearTimeout(due);
    },
  };
}

async function loadAll(index: string, names: readonly string[], busybox: RunTool): Promise<void> {
  const known = await readIndex(index);
  const files = new Set(names.flatMap((name) => known[name] ?? []));
  if (files.size > 0) await busybox(["sh", "-c", SCRIPT, "sh", ...files]);
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function readIndex(path: string): Promise<Readonly<Record<string, readonly string[]>>> {
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw error;
  }
}
