import { posix } from "node:path";
import type { OciDevice, OciResources, OciSpec } from "tapvisor/plugin";
import type { DeviceMessage } from "tapvisor/protocol";
import { awaitDisk, type DiskWorld } from "../disk/await-disk.ts";
import { type Disk, parseDisk } from "../disk/disk.ts";
import { StatusError } from "../status.ts";

type Rule = NonNullable<OciResources["devices"]>[number];

/** A disk that a container gets as a device node. */
export interface WantedDevice {
  readonly disk: Disk;
  /** Where the container finds it. */
  readonly path: string;
}

/** @throws INVALID_ARGUMENT naming the device. */
export function wantedDevices(messages: readonly DeviceMessage[]): readonly WantedDevice[] {
  const paths = new Set<string>();
  return messages.map(({ type, id, container_path: path }) => {
    const plain = posix.isAbsolute(path) && posix.normalize(path) === path && !path.endsWith("/") && !path.includes("\0");
    if (!plain || paths.has(path)) {
      throw new StatusError(
        "INVALID_ARGUMENT",
        `Cannot make a device at ${JSON.stringify(path)}: wanted an absolute path that no other has`,
      );
    }
    paths.add(path);
    return { disk: parseDisk(type, id), path };
  });
}

/** The configuration with the numbers that the devices have in this guest; waits until they are there. @throws TIMEOUT. */
export async function withDevices(spec: OciSpec, wanted: readonly WantedDevice[], world: DiskWorld, signal: AbortSignal): Promise<OciSpec> {
  const found: OciDevice[] = [];
  for (const { disk, path } of wanted) {
    const { major, minor } = await awaitDisk(world, disk, signal);
    found.push({ path, type: "b", major, minor });
  }
  return found.length === 0 ? spec : withNumbers(spec, found);
}

/**
 * A client names each device in the configuration too, with numbers that stand for it in the node and in the rules about it: all of them get the
 * guest's at once, since the guest's number of one may be what stands for another. A device that is not named is added, and everything allowed with it.
 */
export function withNumbers(spec: OciSpec, found: readonly OciDevice[]): OciSpec {
  const { devices: nodes = [], resources } = spec.linux;
  const numbersOf = ({ path }: OciDevice) => {
    const device = found.find((each) => each.path === path);
    return device && { type: device.type, major: device.major, minor: device.minor };
  };
  const standsFor = (rule: Rule) => nodes.find((node) => numbersOf(node) && isAbout(rule, node));
  const unnamed = found.filter(({ path }) => !nodes.some((node) => node.path === path));
  const rules = (resources?.devices ?? []).map((rule) => {
    const node = standsFor(rule);
    return node ? { ...rule, ...numbersOf(node) } : rule;
  });
  const added = unnamed.map(({ type, major, minor }) => ({ allow: true, access: "rwm", type, major, minor }));
  return {
    ...spec,
    linux: {
      ...spec.linux,
      devices: [...nodes.map((node) => ({ ...node, ...numbersOf(node) })), ...unnamed],
      resources: { ...resources, devices: [...rules, ...added] },
    },
  };
}

function isAbout(rule: Rule, { type, major, minor }: OciDevice): boolean {
  return rule.type === type && rule.major === major && rule.minor === minor;
}
