import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import type { Sandbox } from "tapvisor";
import type { AgentClient, VmGrant } from "tapvisor/plugin";
import { HOTPLUG_BUS } from "../../plugins/hypervisor-qemu/command-line.ts";
import { leaseMachine } from "../../plugins/hypervisor-qemu/machines.ts";
import { findProcessesByMark } from "../../src/base/process-identity.ts";
import { OBSERVER } from "./watched-backends.ts";

/**
 * What an engine holds on the host: files and run directories of its root, mounts and sockets below it, the processes that name it, and
 * this process's children. Records are not in it.
 */
export async function hostView(root: string): Promise<unknown> {
  const mounts = (await readFile("/proc/self/mountinfo", "utf8")).split("\n").filter((line) => line.includes(root));
  const sockets = (await readFile("/proc/net/unix", "utf8"))
    .split("\n")
    .flatMap((line) => line.split(" ").filter((word) => word.includes(root)));
  const run = await readdir(join(root, "run"), { recursive: true }).catch(() => []);
  const processes = (await findProcessesByMark(root)).map(({ pid }) => nameOf(pid));
  return {
    mounts,
    sockets: sockets.map((path) => relative(root, path)).sort(),
    run: run.filter((path) => !/(^|\/)(console|qemu)\.log(\.1)?$/.test(path)).sort(),
    processes: processes.sort(),
    children: childNames().sort(),
  };
}

/** The names of the state's files: records, locks, temporary files. */
export async function stateFiles(root: string): Promise<string[]> {
  const entries = await readdir(join(root, "state"), { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => !entry.isDirectory())
    .map(({ name }) => name)
    .sort();
}

/** What a VM holds, as QEMU says: devices, what is on the hot-plug bus, character devices, block nodes. */
export async function vmView(grant: VmGrant): Promise<unknown> {
  await using lease = await leaseMachine(grant);
  const ask = async <T>(command: string, args: Record<string, unknown>, pick: (each: T) => string) =>
    ((await lease.machine.execute(command, args)) as readonly T[]).map(pick).sort();
  const children = (path: string) => ask<{ name: string }>("qom-list", { path }, ({ name }) => name);
  const bus = `/machine/peripheral/${HOTPLUG_BUS}/${HOTPLUG_BUS}`;
  const slots = (await children(bus)).filter((name) => name.startsWith("child["));
  const pluggedAt = (property: string) => lease.machine.execute("qom-get", { path: bus, property });
  return {
    peripheral: await children("/machine/peripheral"),
    anonymous: await children("/machine/peripheral-anon"),
    objects: await children("/objects"),
    ports: (await Promise.all(slots.map(pluggedAt))).sort(),
    chardevs: await ask<{ label: string }>("query-chardev", {}, ({ label }) => label),
    blocks: await ask<{ "node-name": string }>("query-named-block-nodes", {}, (node) => node["node-name"]),
  };
}

const LOOK = "cat /proc/self/mountinfo; echo ==; cat /proc/cgroups; echo ==; echo /sys/bus/virtio/drivers/virtiofs/virtio* /shares/*";

/**
 * What a guest holds, seen from a container made for it. The agent's own mounts are in another mount namespace, but the kernel gives every
 * mount and every file system without a disk the lowest free number, and counts the cgroups of the whole guest: what is left anywhere
 * shifts the numbers that the container sees. Directories of the agent and its threads are not seen.
 */
export async function guestView(sandbox: Sandbox, rootfs: string): Promise<unknown> {
  await using container = await sandbox.run({ id: OBSERVER, rootfs, command: ["sh", "-c", LOOK] });
  const [mounts = "", cgroups = "", listing = ""] = (await container.stdout.text()).split("==\n");
  await container.wait();
  return {
    mounts: mounts.trim().split("\n").map(numbersOf),
    cgroups: cgroups.split("\n").map((line) => line.split("\t").slice(0, 3).join(" ")),
    listing: listing.trim(),
  };
}

/** Whether the agent knows a container: it answers a wait for the process of an unknown one at once. */
export async function agentKnows(client: AgentClient, container: string): Promise<boolean> {
  const signal = AbortSignal.timeout(2_000);
  const { pino } = await import("pino");
  const answer = await client.waitProcess({ container, exec: container }, { signal, log: pino({ level: "silent" }) }).then(
    () => "known",
    (error: Error) => error.message,
  );
  return !answer.includes("There is no container");
}

/** proc(5): the mount's id, its parent's, the device, and the mount point. */
function numbersOf(line: string): string {
  const [id, parent, device, , point] = line.split(" ");
  return `${id} ${parent} ${device} ${point}`;
}

/** tsx keeps a compiler running. */
function childNames(): string[] {
  const pids = readFileSync("/proc/self/task/".concat(String(process.pid), "/children"), "utf8")
    .trim()
    .split(" ")
    .filter(Boolean);
  return pids.map((pid) => nameOf(Number(pid))).filter((name) => name !== "esbuild");
}

function nameOf(pid: number): string {
  try {
    const program = readFileSync(`/proc/${pid}/comm`, "utf8").trim();
    return basename(program);
  } catch {
    return "ended";
  }
}
