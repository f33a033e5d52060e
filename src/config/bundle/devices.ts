import type { DeviceNodeOptions } from "../node-config.ts";
import type { Refuse } from "./refuse.ts";
import type { OciConfig } from "./schema.ts";

type OciConfigLinux = NonNullable<OciConfig["linux"]>;
type Rule = NonNullable<NonNullable<OciConfigLinux["resources"]>["devices"]>[number];

/** What every container has, by numbers: null, zero, full, random, urandom, tty, console, ptmx. */
const ALWAYS = new Set(["1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:1", "5:2"]);
/** The terminals of the container's own /dev/pts. */
const PTS_MAJOR = 136;

/** The nodes of a configuration that a container does not have anyway. */
export function bundleNodes({ devices = [], resources }: OciConfigLinux, refuse: Refuse): DeviceNodeOptions[] {
  const nodes = devices.flatMap(({ path, type, major, minor, fileMode, uid, gid }, index): DeviceNodeOptions[] => {
    if (type === "b") throw refuse(`linux.devices.${index}.type`, '"c": a disk of the host is given by the option devices, in its place');
    if (type !== "c" && type !== "u") throw refuse(`linux.devices.${index}.type`, '"c" or "u"');
    if (ALWAYS.has(`${major}:${minor}`)) return [];
    const optional = { ...(uid !== undefined && { uid }), ...(gid !== undefined && { gid }) };
    return [{ path, major, minor, ...(fileMode !== undefined && { mode: fileMode & 0o777 }), ...optional }];
  });
  for (const [index, rule] of (resources?.devices ?? []).entries()) {
    if (!isSo(rule, nodes))
      throw refuse(`linux.resources.devices.${index}`, "a rule about a device that the container has: all others are refused");
  }
  return nodes;
}

/** Whether a rule says what is so anyway: nothing is allowed but the container's own nodes, and to make a node is nothing without its use. */
function isSo({ allow, type, major, minor, access = "" }: Rule, nodes: readonly DeviceNodeOptions[]): boolean {
  if (!allow || access === "m") return true;
  if (type !== "c" || major === undefined || major === null) return false;
  return ALWAYS.has(`${major}:${minor}`) || major === PTS_MAJOR || nodes.some((node) => node.major === major && node.minor === minor);
}
