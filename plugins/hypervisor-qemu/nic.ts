import { checkId } from "tapvisor/plugin";
import { badDevice } from "./bad-device.ts";
import { HOTPLUG_BUS } from "./command-line.ts";
import { deviceStep, type Step } from "./device-steps.ts";

/** A network card of the guest and what is behind it on the host. */
export interface Nic {
  readonly id: string;
  /** Six pairs of hexadecimal digits, in lower case; not a group address. */
  readonly mac: string;
  /** A tap interface that exists already, or QEMU's own user network, `restrict`ed to itself or able to reach out. */
  readonly network:
    | { readonly kind: "tap"; readonly interface: string; readonly queues: number }
    | { readonly kind: "user"; readonly restrict: boolean };
}

/** What one tap interface takes. */
const QUEUES = 256;

/**
 * What plugs a network card in: QEMU's end of the host's network, then the device.
 *
 * @throws INVALID_INPUT naming `nic.id`, `nic.mac`, `nic.network.interface` or `nic.network.queues`.
 */
export function nicSteps({ id, mac, network }: Nic): Step[] {
  checkId("nic.id", id);
  checkMac("nic.mac", mac);
  const device = `nic-${id}`;
  const netdev = `${device}-net`;
  const card = { bus: HOTPLUG_BUS, netdev, mac };
  if (network.kind === "user") {
    return [netdevStep(netdev, "user", { restrict: network.restrict }), deviceStep(device, "virtio-net-pci", card)];
  }
  const { queues } = network;
  want(
    /^(?!\.\.?$)[A-Za-z0-9_.-]{1,15}$/.test(network.interface),
    "nic.network.interface",
    network.interface,
    "a network interface's name",
  );
  want(Number.isInteger(queues) && queues >= 1 && queues <= QUEUES, "nic.network.queues", queues, `a whole number from 1 to ${QUEUES}`);
  // No script of QEMU's touches the interface: who made it has configured it. One interrupt for each direction of a queue, two for the card.
  const several = queues === 1 ? {} : { mq: true, vectors: 2 * queues + 2 };
  const tap = { ifname: network.interface, script: "no", downscript: "no", ...(queues === 1 ? {} : { queues }) };
  return [netdevStep(netdev, "tap", tap), deviceStep(device, "virtio-net-pci", { ...card, ...several })];
}

/** QEMU's end of a network. */
export function netdevStep(id: string, type: string, args: Step["command"]["arguments"]): Step {
  return {
    command: { command: "netdev_add", arguments: { type, id, ...args } },
    undo: { command: "netdev_del", arguments: { id } },
  };
}

/** @throws INVALID_INPUT naming the field when it is not the address of one card. */
export function checkMac(path: string, mac: string): string {
  want(/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/.test(mac), path, mac, 'an address of one card such as "52:54:00:12:34:56"');
  return mac;
}

function want(holds: boolean, path: string, value: unknown, wanted: string): void {
  if (!holds) throw badDevice(path, value, wanted);
}
