import type { FileHandle } from "node:fs/promises";
import { KiB } from "tapvisor/plugin";
import { z } from "zod";

/** What begins a snapshot's file, with the length of the header after it; QEMU's own stream follows. */
const PRELUDE = "tapvisor-snapshot-1 ";
const PRELUDE_BYTES = 32;
const MOST_HEADER_BYTES = 1024 * KiB;

const size = z.strictObject({ vcpus: z.int().min(1), memoryBytes: z.int().min(1) });
const id = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/);

const SCHEMA = z.strictObject({
  /** What the VM booted with and how far it may grow: the machine that goes on from here must be the same. */
  boot: size,
  limits: size,
  memoryDevice: z.enum(["virtio-mem", "pc-dimm"]),
  /** Of what has been plugged in, all that says where: QEMU chose it. */
  vcpus: z.array(z.strictObject({ id, type: id, props: z.record(id, z.int().min(0)) })),
  dimms: z.array(z.strictObject({ slot: z.int().min(0), bytes: z.int().min(1), address: z.int().min(0) })),
  /** `slot` is that of a virtio-blk disk on the hot-plug bus. */
  disks: z.array(z.strictObject({ id, slot: z.int().min(0).max(31).optional() })),
});

/** What a snapshot's file says of the machine that it was. */
export type SavedMachine = z.infer<typeof SCHEMA>;

export function encodeHeader(machine: SavedMachine): Buffer {
  const text = JSON.stringify(machine);
  return Buffer.from(`${PRELUDE}${Buffer.byteLength(text)}`.padEnd(PRELUDE_BYTES - 1).concat("\n", text));
}

/** Reads the header where the file stands: QEMU, which inherits it, goes on behind it. `undefined` when it has none, or a damaged one. */
export async function readHeader(file: FileHandle): Promise<SavedMachine | undefined> {
  const prelude = (await readAll(file, PRELUDE_BYTES)).toString("latin1");
  const bytes = prelude.startsWith(PRELUDE) ? Number(prelude.slice(PRELUDE.length)) : Number.NaN;
  if (!Number.isSafeInteger(bytes) || bytes <= 0 || bytes > MOST_HEADER_BYTES) return undefined;
  try {
    return SCHEMA.parse(JSON.parse((await readAll(file, bytes)).toString()));
  } catch {
    return undefined;
  }
}

/** As much as there is. */
async function readAll(file: FileHandle, bytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(bytes);
  let read = 0;
  for (let more = 1; more > 0 && read < bytes; read += more) ({ bytesRead: more } = await file.read(buffer, read, bytes - read, null));
  return buffer.subarray(0, read);
}
