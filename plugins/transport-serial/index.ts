import { definePlugin } from "tapvisor/plugin";
import { connectSerial } from "./connect.ts";

/** Reaches the guest's agent through a virtio-serial port: yamux over QEMU's unix socket. */
export const transportSerial = definePlugin("transport-serial", (context) => {
  context.provide("transport", "serial", () => ({ endpoints: ["serial"], connect: connectSerial }));
});
