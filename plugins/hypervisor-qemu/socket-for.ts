import { join, relative } from "node:path";
import { TapvisorError, type VmGrant } from "tapvisor/plugin";
import { userOf } from "./size-limits.ts";

/**
 * The path by which a VM's QEMU reaches a socket. One with a user of its own works in its run directory, which it has open: those above may be closed to it.
 *
 * @throws INVALID_INPUT when the socket is elsewhere.
 */
export function socketFor(vm: VmGrant, socket: string): string {
  if (!userOf(vm)) return socket;
  const below = relative(vm.runDirectory, socket);
  if (!below.startsWith("..")) return join("/proc/self/cwd", below);
  const wanted = `one in the VM's run directory "${vm.runDirectory}"`;
  throw new TapvisorError("INVALID_INPUT", `Cannot reach the socket "${socket}" from a QEMU with a user of its own: wanted ${wanted}`, {
    data: { path: "share.directory", value: socket, wanted },
  });
}
