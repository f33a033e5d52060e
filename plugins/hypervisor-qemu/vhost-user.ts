import { checkId } from "tapvisor/plugin";
import { badDevice } from "./bad-device.ts";
import { HOTPLUG_BUS } from "./command-line.ts";
import { deviceStep, type Step } from "./device-steps.ts";
import { checkMac, netdevStep } from "./nic.ts";
import { checkSocketPath } from "./paths.ts";

/** A disk, a SCSI controller or a network card that a process of the host serves over a unix socket, in memory it shares with the guest. */
export type VhostUserDevice = { readonly id: string; readonly socket: string } & (
  | { readonly kind: "blk" | "scsi" }
  | { readonly kind: "net"; readonly mac: string }
);

/**
 * What plugs a vhost-user device in: the connection to its server, then the device, between them QEMU's end of the network for a card.
 *
 * @throws INVALID_INPUT naming `vhost-user.id`, the socket or `vhost-user.mac`.
 */
export function vhostUserSteps(device: VhostUserDevice): Step[] {
  const id = `vhost-user-${checkId("vhost-user.id", device.id)}`;
  const chardev = `${id}-socket`;
  const connection = chardevStep(chardev, device.socket);
  if (device.kind !== "net") return [connection, deviceStep(id, `vhost-user-${device.kind}-pci`, { bus: HOTPLUG_BUS, chardev })];
  const netdev = `${id}-net`;
  const mac = checkMac("vhost-user.mac", device.mac);
  return [connection, netdevStep(netdev, "vhost-user", { chardev }), deviceStep(id, "virtio-net-pci", { bus: HOTPLUG_BUS, netdev, mac })];
}

/** The same for a file system; its id is the mount tag, too. */
export function shareSteps(id: string, socket: string): [connection: Step, device: Step] {
  const device = `share-${checkId("share.id", id)}`;
  const chardev = `${device}-socket`;
  return [chardevStep(chardev, socket), deviceStep(device, "vhost-user-fs-pci", { bus: HOTPLUG_BUS, chardev, tag: id })];
}

/** QEMU's connection to a server, which listens already. */
function chardevStep(id: string, path: string): Step {
  if (!path.startsWith("/")) throw badDevice("vhost-user.socket", path, "an absolute path");
  const address = { type: "unix", data: { path: checkSocketPath(path) } };
  return {
    command: { command: "chardev-add", arguments: { id, backend: { type: "socket", data: { addr: address, server: false } } } },
    undo: { command: "chardev-remove", arguments: { id } },
  };
}
