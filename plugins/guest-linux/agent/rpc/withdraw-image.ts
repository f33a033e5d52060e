import { readFile, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { Empty } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { StatusError } from "../status.ts";

/** Takes away what OfferImage has made. Again is nothing. @throws FAILED_PRECONDITION while something uses it. */
export function withdrawImage(agent: Agent): Promise<Empty> {
  return agent.imageTurns.run(async () => {
    await takeAway(agent);
    if (!(await isOffered(agent))) return {};
    throw new StatusError("FAILED_PRECONDITION", `Cannot unmount ${agent.paths.offeredImage}: something uses it`);
  });
}

export async function takeAway(agent: Agent): Promise<void> {
  const { offeredImage } = agent.paths;
  if (await isOffered(agent)) await agent.busybox(["umount", offeredImage]).catch(() => {});
  for (const path of [offeredImage, dirname(offeredImage)]) await rmdir(path).catch(() => {}); // what is not empty stays
}

export async function isOffered({ paths }: Agent): Promise<boolean> {
  const table = await readFile(paths.mounts, "utf8");
  return table.split("\n").some((line) => line.split(" ")[1] === paths.offeredImage);
}
