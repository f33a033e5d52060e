import { open } from "node:fs/promises";
import { TapvisorError } from "tapvisor/plugin";

const HEADER_BYTES = 64 * 1024; // the set-up code, where the version text lies, is smaller

/**
 * The release a bzImage says it is, `6.1.0-56-cloud-amd64` say; `undefined` for an ELF kernel, which does not say.
 * Read from the set-up header of the x86 boot protocol: "HdrS" at 0x202, the offset of the version text (less 0x200) at 0x20e.
 *
 * @throws INVALID_INPUT when the file is no kernel.
 */
export async function kernelRelease(file: string): Promise<string | undefined> {
  const head = await readHead(file);
  if (head.readUInt32BE(0) === 0x7f454c46) return undefined;
  if (head.toString("latin1", 0x202, 0x206) !== "HdrS") {
    throw new TapvisorError("INVALID_INPUT", `Cannot boot ${file}: it is no Linux kernel, wanted a bzImage or an ELF vmlinux`, {
      data: { path: "kernel", value: file, wanted: "a bzImage or an ELF vmlinux" },
    });
  }
  const start = head.readUInt16LE(0x20e) + 0x200;
  return head.toString("latin1", start, head.indexOf(0, start)).split(" ")[0];
}

async function readHead(file: string): Promise<Buffer> {
  const handle = await open(file);
  try {
    const head = Buffer.alloc(HEADER_BYTES);
    await handle.read(head, 0, HEADER_BYTES, 0);
    return head;
  } finally {
    await handle.close();
  }
}
