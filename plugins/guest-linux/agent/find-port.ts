import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

const DEFAULT_PORT = "agent.channel.0";

/** The name of the agent's port: the kernel command line's `tapvisor.agent_port=`, else Kata's `agent.channel.0`. */
export function portName(commandLine: string): string {
  const word = commandLine.split(/\s+/).findLast((each) => each.startsWith("tapvisor.agent_port="));
  return word?.slice("tapvisor.agent_port=".length) || DEFAULT_PORT;
}

/**
 * The device of the virtio-serial port with this name: what udev links in /dev/virtio-ports, found without udev.
 * @throws Error naming the ports there are.
 */
export async function findPort(name: string, sys = "/sys", dev = "/dev"): Promise<string> {
  const ports = join(sys, "class/virtio-ports");
  const found: string[] = [];
  for (const port of await readdir(ports).catch(() => [])) {
    const itsName = (await readFile(join(ports, port, "name"), "utf8").catch(() => "")).trim();
    if (itsName === name) return join(dev, port);
    found.push(itsName);
  }
  throw new Error(`Cannot find the virtio-serial port "${name}": there are ${found.length === 0 ? "none" : found.join(", ")}`);
}
