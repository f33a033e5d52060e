import { mkdir } from "node:fs/promises";
import type { Empty, OfferImageResponse } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import type { RpcContext } from "../unary.ts";
import { isOffered, takeAway } from "./withdraw-image.ts";

/** Two mounts: a bind mount does not take `ro` with the first. */
const SCRIPT = `mount -o bind "$1" "$2" && mount -o remount,bind,ro "$2"`;

/** Shows the guest's own files, without what is mounted on them, below an open directory. Again is the same. */
export async function offerImage(agent: Agent, _request: Empty, { signal }: RpcContext): Promise<OfferImageResponse> {
  const { image, offeredImage } = agent.paths;
  return agent.imageTurns.run(async () => {
    if (await isOffered(agent)) return { path: offeredImage };
    await mkdir(offeredImage, { recursive: true });
    try {
      await agent.busybox(["sh", "-c", SCRIPT, "sh", image, offeredImage], signal);
    } catch (error) {
      await takeAway(agent);
      throw error;
    }
    return { path: offeredImage };
  }, signal);
}
