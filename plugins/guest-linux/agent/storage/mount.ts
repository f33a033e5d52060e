import { mkdir, readFile, rmdir } from "node:fs/promises";
import { posix } from "node:path";
import { awaitDisk, type DiskWorld } from "../disk/await-disk.ts";
import type { GuestPaths } from "../guest-paths.ts";
import type { RunTool } from "../runtime/run-tool.ts";
import { ToolError } from "../runtime/tool-error.ts";
import { awaitNode, awaitVirtioFsChange, DEVICE_TIMEOUT_MS, virtioFsDevices } from "./await-device.ts";
import type { Step } from "./plan.ts";

/** What an undo has to undo: mount points from before they are used, in the order of their use; directories when they have been made. */
export interface HeldStorage {
  readonly targets: string[];
  readonly directories: string[];
}

/** To be made known before anything is awaited, so that no other request takes the same mount points. */
export function reserveStorages(steps: readonly Step[]): HeldStorage {
  return { targets: steps.flatMap((step) => (step.kind === "mount" ? [step.target] : [])), directories: [] };
}

export interface MountTools extends DiskWorld {
  readonly busybox: RunTool;
}

type MountStep = Extract<Step, { kind: "mount" }>;

/**
 * All steps in one process, since each costs some ten milliseconds under emulation. The values are arguments, never part of the script. It writes one
 * line for each step that is done.
 */
const SCRIPT = `
while [ $# -gt 0 ]; do
  case $1 in
    enter) [ -d "$2/." ] || { echo "there is no directory $2" >&2; exit 1; }; shift 2 ;;
    directory) mkdir -p "$2" || exit 1; shift 2 ;;
    mount) mount -i -t "$2" -o "$3" "$4" "$5" || exit 1; shift 5 ;;
  esac
  echo
done`;

/** Does the steps in order. @throws Error with the tool's reason; `held`, reserved for these steps, says what is to be undone. */
export async function mountStorages(steps: readonly Step[], held: HeldStorage, tools: MountTools, signal: AbortSignal): Promise<void> {
  const inside = (path: string) => steps.some((step) => step.kind === "mount" && path.startsWith(`${step.target}/`));
  const rest: Step[] = [];
  for (const step of steps) {
    // A directory under no mount of these steps needs no process.
    if (step.kind === "directory" && !inside(step.path)) await makeDirectory(step.path, held);
    else rest.push(step.kind === "mount" ? await whenPlugged(step, tools, signal) : step);
  }
  const deadline = performance.now() + DEVICE_TIMEOUT_MS;
  for (let at = 0; at < rest.length; ) {
    const devices = await virtioFsDevices(tools.paths);
    try {
      await tools.busybox(["sh", "-c", SCRIPT, "sh", ...rest.slice(at).flatMap(words)], signal);
      return;
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
      at += error.stdout.split("\n").length - 1;
      const left = deadline - performance.now();
      if (!mayAppear(rest[at], error) || left <= 0) throw error;
      // The device shows a moment before its tag is known, so a change is not all that is worth another attempt.
      await awaitVirtioFsChange(tools.paths, devices, Math.min(left, devices === "" ? left : RETRY_MS), signal);
    }
  }
}

/** The step with the disk's node as its source, when the disk is there. */
async function whenPlugged(step: MountStep, tools: MountTools, signal: AbortSignal): Promise<MountStep> {
  if (step.awaits === "device") await awaitNode(step.source, signal);
  if (typeof step.awaits !== "object") return step;
  const { node, readonly } = await awaitDisk(tools, step.awaits, signal);
  // A file system that was not unmounted has a journal to replay, and on such a disk nothing can be.
  const options = readonly && /^ext[34]$/.test(step.fstype) ? `${step.options},noload` : step.options;
  return { ...step, source: node, options };
}

const RETRY_MS = 50;

/** The kernel's answer to a tag that it does not know. */
function mayAppear(step: Step | undefined, error: ToolError): boolean {
  return step?.kind === "mount" && step.awaits === "virtio-fs" && error.stderr.includes("Invalid argument");
}

/**
 * Undoes what `held` says, in reverse; what is undone leaves the list, what is not there is undone. Directories are removed only when empty: never their content,
 * which may be a user's files should an unmount have failed.
 * @throws Error naming what is still mounted.
 */
export async function unmountStorages(held: HeldStorage, tools: MountTools): Promise<void> {
  const targets = held.targets.toReversed();
  if (targets.length > 0) {
    await tools.busybox(["umount", ...targets]).catch(() => {});
    let left = await stillMounted(targets, tools.paths);
    if (left.length > 0) await tools.busybox(["umount", "-l", ...left]).catch(() => {});
    if (left.length > 0) left = await stillMounted(left, tools.paths);
    held.targets.splice(0, held.targets.length, ...left.toReversed());
    if (left.length > 0) throw new Error(`Cannot unmount ${left.join(", ")}`);
  }
  for (const directory of held.directories.splice(0).reverse()) await rmdir(directory).catch(() => {});
}

async function stillMounted(targets: readonly string[], { mounts }: GuestPaths): Promise<string[]> {
  const table = await readFile(mounts, "utf8");
  // The kernel writes blanks and backslashes in octal, and our mount points are of plain characters: see checkOpenPath and the ids.
  const mounted = new Set(
    table
      .split("\n")
      .map((line) => (line.split(" ")[1] ?? "").replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)))),
  );
  return targets.filter((target) => mounted.has(target));
}

async function makeDirectory(path: string, held: HeldStorage): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  const made: string[] = [];
  for (let at = path; at.length >= first.length; at = posix.dirname(at)) made.unshift(at);
  held.directories.push(...made);
}

function words(step: Step): readonly string[] {
  return step.kind !== "mount" ? [step.kind, step.path] : ["mount", step.fstype, step.options, step.source, step.target];
}
