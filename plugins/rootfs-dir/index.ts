import { definePlugin } from "tapvisor/plugin";
import { directoryHolding } from "./directory-holding.ts";

/** Uses a directory of the host as a container's rootfs. Rootfs storage `dir`. */
export const rootfsDir = definePlugin("rootfs-dir", (ctx) => {
  ctx.provide("rootfs", "dir", () => ({
    sources: ["directory"],
    holdings: { rootfs: directoryHolding(ctx.stateDirectory) },
  }));
});
