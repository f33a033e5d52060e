import { link, symlink } from "node:fs/promises";
import type { MakeLinkRequest } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import type { RpcContext } from "../unary.ts";
import { FileError } from "./file-error.ts";
import { pathOf } from "./flags.ts";
import { named, withPlace } from "./place.ts";
import { checkPath, walk } from "./walk.ts";

/** A symbolic link may name anything, since whoever follows it stays in the container; a hard link's target is found like any path. */
export async function makeLink(agent: Agent, { place, target, hard }: MakeLinkRequest, { signal }: RpcContext) {
  return withPlace(agent, place, { follow: false, change: true }, signal, async ({ found, root }) => {
    const path = pathOf(found.parent, named(found));
    if (target.includes("\0")) throw new FileError("EINVAL", "Cannot make the link: its target holds a NUL character");
    if (hard) {
      await walk(root, checkPath(target), { follow: false }, async (old) => {
        await link(pathOf(old.parent, named(old)), path);
      });
    } else await symlink(target, path);
    return {};
  });
}
