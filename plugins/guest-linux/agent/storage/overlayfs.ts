import { posix } from "node:path";
import type { StorageMessage } from "tapvisor/protocol";
import { checkOpenPath } from "../guest-paths.ts";
import { joinOptions, optionValue, refuse } from "./options.ts";
import type { PlanContext, Step } from "./plan.ts";
import { DEFAULT_TMPFS_SIZE, TMPFS_SIZE } from "./tmpfs.ts";

const OWN = ["lowerdir", "upperdir", "workdir", "size"] as const;

/**
 * A copy-on-write view of `lowerdir`. `upperdir` and `workdir` are directories of one file system: one that an earlier storage of the same request has
 * mounted, else a tmpfs mounted on their parent. Without them the agent takes a tmpfs of its own. `size=` bounds that tmpfs, half the guest's memory by
 * default. An overlay without an upper layer says so with `ro`.
 */
export function overlay(storage: StorageMessage, context: PlanContext): readonly Step[] {
  const { options, mount_point: target } = storage;
  const lower = optionValue(options, "lowerdir");
  if (lower === undefined) refuse(storage, "it has no lowerdir=");
  const lowers = lower.split(":");
  for (const each of lowers) checkOpenPath(context.paths, "lowerdir", each);
  const others = options.filter((option) => !OWN.some((name) => option.startsWith(`${name}=`)));
  const upper = optionValue(options, "upperdir");
  const work = optionValue(options, "workdir");
  if (upper === undefined && work === undefined && others.includes("ro")) {
    if (lowers.length < 2) refuse(storage, "a read-only overlay needs two lower directories");
    return [...enter(lowers), mountOf(storage, target, [...others, `lowerdir=${lower}`])];
  }
  if ((upper === undefined) !== (work === undefined)) refuse(storage, "upperdir= and workdir= go together");
  const own = posix.join(context.ownDirectory, `overlay-${context.index}`);
  const layers =
    upper !== undefined && work !== undefined ? given(storage, context, upper, work) : { upper: `${own}/upper`, work: `${own}/work` };
  return [
    ...enter(lowers),
    ...writable(storage, context, posix.dirname(layers.upper)),
    { kind: "directory", path: layers.upper },
    { kind: "directory", path: layers.work },
    mountOf(storage, target, [...others, `lowerdir=${lower}`, `upperdir=${layers.upper}`, `workdir=${layers.work}`]),
  ];
}

function given(storage: StorageMessage, { paths }: PlanContext, upper: string, work: string) {
  checkOpenPath(paths, "upperdir", upper);
  checkOpenPath(paths, "workdir", work);
  if (posix.dirname(upper) !== posix.dirname(work) || upper === work)
    refuse(storage, "upperdir and workdir must be two directories side by side");
  return { upper, work };
}

function writable(storage: StorageMessage, { mountedBefore, paths, ownDirectory }: PlanContext, parent: string): readonly Step[] {
  const size = optionValue(storage.options, "size");
  if (mountedBefore.some((mounted) => parent === mounted || parent.startsWith(`${mounted}/`))) {
    if (size !== undefined) refuse(storage, "size= bounds a tmpfs of the agent's own, and upperdir lies on another storage");
    return [];
  }
  if (!parent.startsWith(`${ownDirectory}/`)) checkOpenPath(paths, "the parent of upperdir", parent);
  const bound = size ?? DEFAULT_TMPFS_SIZE;
  if (!TMPFS_SIZE.test(bound)) refuse(storage, `the size ${JSON.stringify(bound)} is not usable, wanted bytes or percent`);
  return [
    { kind: "directory", path: parent },
    { kind: "mount", fstype: "tmpfs", options: `size=${bound},mode=755`, source: "tmpfs", target: parent },
  ];
}

function enter(lowers: readonly string[]): readonly Step[] {
  return lowers.map((path) => ({ kind: "enter", path }));
}

function mountOf(storage: StorageMessage, target: string, options: readonly string[]): Step {
  return { kind: "mount", fstype: "overlay", options: joinOptions(storage, options), source: "overlay", target };
}
