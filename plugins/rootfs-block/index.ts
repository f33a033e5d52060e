import { definePlugin } from "tapvisor/plugin";
import { rootfsHolding } from "./rootfs-holding.ts";

/** Uses a disk image or block device of the host as a container's rootfs, or makes an image of a directory. Rootfs storage `block`. */
export const rootfsBlock = definePlugin("rootfs-block", (ctx) => {
  ctx.provide("rootfs", "block", () => ({
    sources: ["block", "directory"],
    grants: "block",
    holdings: { rootfs: rootfsHolding(ctx.stateDirectory) },
  }));
});
