/**
 * A storage that gives each container a copy of its directory as it was when the container was created. What the host changes afterwards,
 * an upgrade in place say, no container sees half of.
 */
import { cp, mkdir, opendir, realpath, rm } from "node:fs/promises";
import { join } from "node:path";
import {
  definePlugin,
  type HoldingKind,
  messageOf,
  type RootfsGrant,
  type RootfsIntent,
  TapvisorError,
  throwIfAborted,
} from "tapvisor/plugin";

/** Copies of directories. Rootfs storage `snapshot`. */
export const rootfsSnapshot = definePlugin("rootfs-snapshot", (ctx) => {
  const copies = join(ctx.stateDirectory, "rootfs-snapshots");
  ctx.provide("rootfs", "snapshot", () => ({ sources: ["directory"], holdings: { rootfs: snapshotHolding(copies) } }));
});

export default rootfsSnapshot;

/** A copy on disk. Where it lies follows from the intent, so that it is found again when the script died in the middle of making it. */
function snapshotHolding(copies: string): HoldingKind<RootfsIntent, RootfsGrant> {
  return {
    async acquire(intent, { signal }) {
      const { source, access } = intent;
      throwIfAborted(signal, `a copy of the ${source.kind}`);
      if (source.kind !== "directory") throw unsupported(`rootfs ${source.kind}`);
      if (access === "shared") throw unsupported("access shared"); // what a container writes would be lost with the copy
      const original = await realDirectory(source.path);
      const copy = copyOf(copies, intent);
      await mkdir(copies, { recursive: true, mode: 0o700 });
      await rm(copy, { recursive: true, force: true }); // of a sandbox whose record was lost
      const goesOn = () => !signal.aborted; // nothing more is copied once nobody wants it
      await cp(original, copy, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true, filter: goesOn });
      throwIfAborted(signal, `a copy of ${original}`);
      return { type: "share", directory: await realpath(copy) };
    },

    // Whole, in part or not there at all: it is the same to `rm`. A copy that fails leaves its part to this, too.
    release: async ({ intent }) => rm(copyOf(copies, intent), { recursive: true, force: true }),
  };
}

/** A plus sign is in no id: two containers never have one copy. */
function copyOf(copies: string, { sandbox, container }: RootfsIntent): string {
  return join(copies, `${sandbox}+${container}`);
}

async function realDirectory(path: string): Promise<string> {
  try {
    const directory = await realpath(path);
    await (await opendir(directory)).close();
    return directory;
  } catch (error) {
    const wanted = "a readable directory";
    throw new TapvisorError("INVALID_INPUT", `Cannot use rootfs ${JSON.stringify(path)}: ${messageOf(error)}, wanted ${wanted}`, {
      data: { path: "rootfs", value: path, wanted },
      cause: error,
    });
  }
}

function unsupported(what: string): TapvisorError {
  return new TapvisorError("UNSUPPORTED", `Cannot make a snapshot with ${what}: rootfs-snapshot copies directories`, {
    data: { what, by: "rootfs-snapshot" },
  });
}
