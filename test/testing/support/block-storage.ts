import { copyFile, mkdir, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type RootfsGrant, type RootfsIntent, type RootfsStorage, TapvisorError } from "tapvisor/plugin";
import type { RootfsFixture } from "tapvisor/testing";
import { tempDirectory } from "../../support/temp.ts";

type BlockGrant = Extract<RootfsGrant, { type: "block" }>;

/** A storage that grants a copy of an image to each container; `amend` changes what it grants, `storage` the storage itself. */
export async function blockStorageFixture(
  amend: (grant: BlockGrant) => RootfsGrant = (same) => same,
  storage: Partial<RootfsStorage> = {},
): Promise<RootfsFixture> {
  const temporary = await tempDirectory();
  const [directory, copies, image] = ["mine", "copies", "image"].map((name) => join(temporary.path, name)) as [string, string, string];
  for (const each of [directory, copies]) await mkdir(each);
  await writeFile(image, "");
  await truncate(image, 2 ** 20);
  const copyOf = ({ container }: RootfsIntent) => join(copies, `${container}.img`);
  const holding: RootfsStorage["holdings"]["rootfs"] = {
    async acquire(intent, { signal }) {
      signal.throwIfAborted();
      if (intent.source.kind !== "block") {
        throw new TapvisorError("UNSUPPORTED", `Cannot use a source of kind ${intent.source.kind}`, { data: { what: intent.source.kind } });
      }
      await copyFile(intent.source.path, copyOf(intent)).catch((cause: unknown) => {
        throw new TapvisorError("INVALID_INPUT", "Cannot copy the image", { data: { path: "rootfs", wanted: "an image" }, cause });
      });
      return amend({ type: "block", path: copyOf(intent), format: "raw", fstype: "ext4" });
    },
    release: ({ intent }) => rm(copyOf(intent), { force: true }),
  };
  return {
    storage: { sources: ["block"], grants: "block", holdings: { rootfs: holding }, ...storage },
    directory,
    source: async () => ({ kind: "block", path: image }),
    snapshot: () => readdir(copies),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}
