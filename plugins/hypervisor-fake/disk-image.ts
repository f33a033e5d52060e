import { open, stat } from "node:fs/promises";
import { isAbsolute } from "node:path";
import { type DiskIntent, messageOf, TapvisorError } from "tapvisor/plugin";

/** What an image of format qcow2 begins with. */
const QCOW2 = Buffer.from("QFI\xfb", "latin1");

/** The bytes of an image file; 0 for a block device, whose content is not looked at. @throws INVALID_INPUT for what QEMU would not open. */
export async function imageBytes({ path, format }: DiskIntent): Promise<number> {
  const wanted = "the absolute path of an image file or of a block device";
  if (!isAbsolute(path)) throw badDisk("disk.path", path, wanted);
  const found = await stat(path).catch((error: unknown) => {
    throw badDisk("disk.path", path, wanted, messageOf(error));
  });
  if (found.isBlockDevice()) return 0;
  if (!found.isFile() || found.size === 0) throw badDisk("disk.path", path, wanted, found.isFile() ? "it is empty" : "it is neither");
  const isQcow2 = await startsWith(path, QCOW2);
  if (isQcow2 !== (format === "qcow2")) throw badDisk("disk.format", format, isQcow2 ? '"qcow2"' : '"raw"');
  return found.size;
}

/** A field of a disk that cannot be used. */
export function badDisk(field: string, value: unknown, wanted: string, found?: string): TapvisorError {
  const text = `Cannot use ${JSON.stringify(value)} for ${field}: ${found === undefined ? "" : `${found}, `}wanted ${wanted}`;
  return new TapvisorError("INVALID_INPUT", text, { data: { path: field, value, wanted } });
}

async function startsWith(path: string, magic: Buffer): Promise<boolean> {
  await using file = await open(path, "r");
  const { buffer, bytesRead } = await file.read(Buffer.alloc(magic.length), 0, magic.length, 0);
  return bytesRead === magic.length && buffer.equals(magic);
}
