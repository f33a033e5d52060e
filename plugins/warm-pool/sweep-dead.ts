import { rm } from "node:fs/promises";
import { type Call, type Hypervisor, messageOf } from "tapvisor/plugin";
import { deadDirectories, intentsIn } from "./places.ts";
import { releaseWarm } from "./warm-vm.ts";

/** Gives back what pools have left whose process is dead; a live one's is not touched. What cannot be given back is logged, and tried again the next time. */
export async function sweepDead(stateDirectory: string, over: () => Promise<Hypervisor>, call: Call): Promise<void> {
  for (const directory of await deadDirectories(stateDirectory)) {
    try {
      for (const intent of await intentsIn(directory)) await releaseWarm(await over(), intent, undefined, call);
      await rm(directory, { recursive: true, force: true });
    } catch (error) {
      call.log.error({ directory, reason: messageOf(error) }, "what a dead script's warm pool held is left");
    }
  }
}
