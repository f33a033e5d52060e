import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const DEFAULT_PORT = "agent.channel.0";

/** The name of the agent's port: the kernel command line's `tapvisor.agent_port=`, else Kata's `agent.channel.0`. */
export function portName(commandLine: string): string {
  const word = commandLine.split(/\s+/).findLast((each) => each.startsWith("tapvisor.agent_port="));
  return word?.slice("tapvisor.agent_port=".length) || DEFAULT_PORT;
}

/**
 * The device of the virtio-serial port with this name: what udev links in /dev/virtio-ports, found without udev.
 * Synchronous: the files are the kernel's own, and at the start a first use of the thread pool costs 0.1 s under emulation.
 *
 * @throws Error naming the ports there are.
 */
export function findPort(name: string, sys = "/sys", dev = "/dev"): string {
  const ports = join(sys, "class/virtio-ports");
  const names = new Map(list(ports).map((port) => [readFileSync(join(ports, port, "name"), "utf8").trim(), port]));
  const found = names.get(name);
  if (found !== undefined) return join(dev, found);
  throw new Error(`Cannot find the virtio-serial port "${name}": there are ${[...names.keys()].join(", ") || "none"}`);
}

/** Each entry is one port; the kernel makes the directory with the first. */
function list(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
