import { mkdir, open } from "node:fs/promises";
import { errnoOf } from "tapvisor/plugin";
import type { MakeDirectoryRequest } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import type { RpcContext } from "../unary.ts";
import { apply, checkAttributes } from "./attributes.ts";
import { FileError } from "./file-error.ts";
import { DIRECTORY_ONLY, pathOf } from "./flags.ts";
import { withPlace } from "./place.ts";

export async function makeDirectory(agent: Agent, { place, recursive, attributes }: MakeDirectoryRequest, { signal }: RpcContext) {
  checkAttributes(attributes);
  return withPlace(agent, place, { follow: recursive, makeDirectories: recursive, change: true }, signal, async ({ found }) => {
    const { parent, name, stats } = found;
    if (stats && !(recursive && stats.isDirectory()))
      throw new FileError("EEXIST", "Cannot make the directory: there is something of this name");
    if (!stats) {
      await mkdir(pathOf(parent, name), 0o755).catch((error: unknown) => {
        if (!recursive || errnoOf(error) !== "EEXIST") throw error;
      });
      const made = await open(pathOf(parent, name), DIRECTORY_ONLY);
      try {
        await apply(made, { ...NOTHING, has_mode: true, mode: 0o755 }); // whatever the agent's umask
        await apply(made, attributes);
      } finally {
        await made.close();
      }
    }
    return {};
  });
}

const NOTHING = { has_owner: false, uid: "-1", gid: "-1", has_modified: false, modified_ms: "0" };
