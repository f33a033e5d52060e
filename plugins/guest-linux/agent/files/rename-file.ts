import { rename } from "node:fs/promises";
import type { RenameFileRequest } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import type { RpcContext } from "../unary.ts";
import { pathOf } from "./flags.ts";
import { existing, named, withPlace } from "./place.ts";
import { checkPath, walk } from "./walk.ts";

export async function renameFile(agent: Agent, { place, to }: RenameFileRequest, { signal }: RpcContext) {
  return withPlace(agent, place, { follow: false, change: true }, signal, async ({ found, root }) => {
    existing(found, "stats");
    const from = pathOf(found.parent, named(found));
    await walk(root, checkPath(to), { follow: false }, (target) => rename(from, pathOf(target.parent, named(target))));
    return {};
  });
}
