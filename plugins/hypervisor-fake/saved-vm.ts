import { open, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { errnoOf, messageOf, TapvisorError, type VmIntent, type VmPlugged } from "tapvisor/plugin";
import type { FakeWorld, SavedVm } from "tapvisor/testing";

/** What a file of the fake's says of itself: another program's is none, and neither is one that has been damaged. */
const FORMAT = "tapvisor fake VM";

/** Writes which of the world's saved VMs it is to a new file, mode 0600. @throws STATE_IO. */
export async function writeState(file: string, key: string): Promise<void> {
  await writeFile(file, JSON.stringify({ format: FORMAT, key }), { flag: "wx", mode: 0o600 }).catch((cause: unknown) => {
    throw new TapvisorError("STATE_IO", `Cannot write the VM's state "${file}": ${messageOf(cause)}`, {
      data: { file, operation: "write", errno: errnoOf(cause) },
      cause,
    });
  });
}

/**
 * The saved VM that this one goes on from; `undefined` for one that boots. Looks at the files that a real one would, and makes the copy.
 *
 * @throws INVALID_INPUT for a file that cannot be used, VM_FAILED for a state that has been damaged, is of the other kind or of another machine.
 */
export async function savedVm(world: FakeWorld, intent: VmIntent): Promise<SavedVm | undefined> {
  const { memory } = intent;
  if (!memory) return undefined;
  if (memory.kind !== "snapshot") await checkMemory(memory.file, intent.memoryBytes);
  if (memory.kind === "template") return undefined;
  const saved = world.savedVm(await keyIn(intent.sandbox, memory.state));
  const kind = memory.kind === "snapshot" ? "snapshot" : "template";
  if (saved?.kind !== kind) throw unusable(intent.sandbox, `"${memory.state}" is the state of no ${kind} of this world`);
  checkMachine(intent, saved);
  if (memory.kind === "copy") await makeCopy(memory.copy, intent.memoryBytes);
  return saved;
}

async function checkMemory(file: string, bytes: number): Promise<void> {
  const found = await stat(file).catch((cause: unknown) => {
    throw badFile("memory.file", file, `a regular file of ${bytes} bytes`, messageOf(cause));
  });
  if (!found.isFile() || found.size !== bytes) throw badFile("memory.file", file, `a regular file of ${bytes} bytes`, "it is none");
}

async function keyIn(sandbox: string, file: string): Promise<string> {
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw badFile("memory.state", file, "a file that can be read", messageOf(cause));
  });
  try {
    const { format, key } = JSON.parse(text) as { readonly format?: unknown; readonly key?: unknown };
    if (format === FORMAT && typeof key === "string") return key;
  } catch {}
  throw unusable(sandbox, `"${file}" is damaged`);
}

/** A copy that takes no room, and is gone as soon as the VM has it. */
async function makeCopy(copy: string, bytes: number): Promise<void> {
  const file = await open(copy, "wx", 0o600).catch((cause: unknown) => {
    if (errnoOf(cause) === "EEXIST") throw badFile("memory.copy", copy, "a path that is not there", "it is there");
    throw new TapvisorError("STATE_IO", `Cannot copy a template's memory to "${copy}": ${messageOf(cause)}`, {
      data: { file: copy, operation: "copy", errno: errnoOf(cause) },
      cause,
    });
  });
  await file.close();
  await truncate(copy, bytes);
  await rm(copy);
}

function checkMachine({ sandbox, vcpus, memoryBytes, limits, plugged }: VmIntent, saved: SavedVm): void {
  const machine = { vcpus, memoryBytes, ...(limits && { limits }) };
  if (!isDeepStrictEqual(machine, saved.machine)) throw unusable(sandbox, "it was saved by a machine of another size");
  const wanted = { size: plugged?.size ?? { vcpus, memoryBytes }, disks: placesOf(plugged?.disks ?? []) };
  const found = { size: saved.size, disks: placesOf(saved.disks.map(({ intent }) => intent)) };
  if (isDeepStrictEqual(wanted, found)) return;
  throw new TapvisorError("INVALID_INPUT", `Cannot start the VM of sandbox "${sandbox}": something else was plugged in when it was saved`, {
    data: { path: "plugged", value: wanted, wanted: JSON.stringify(found) },
  });
}

/** All of a disk but where its image lies, which may have been copied. */
function placesOf(disks: VmPlugged["disks"]): readonly object[] {
  return disks
    .map(({ id, format, readonly, driver, index }) => ({ id, format, readonly, driver, index }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

function unusable(sandbox: string, reason: string): TapvisorError {
  return new TapvisorError("VM_FAILED", `Cannot start the VM of sandbox "${sandbox}": ${reason}`, { data: { id: sandbox } });
}

function badFile(path: string, value: string, wanted: string, found: string): TapvisorError {
  return new TapvisorError("INVALID_INPUT", `Cannot use ${path} "${value}": ${found}, wanted ${wanted}`, { data: { path, value, wanted } });
}
