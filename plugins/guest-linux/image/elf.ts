import { readFile } from "node:fs/promises";

const PROGRAM_INTERPRETER = 3; // PT_INTERP

/** A 64-bit little-endian ELF file, as far as the guest's builder looks into one. */
export interface Elf {
  /** The bytes of a named section; `undefined` when there is none. */
  section(name: string): Buffer | undefined;
  /** Whether it needs a dynamic loader, shared libraries that is. */
  readonly dynamic: boolean;
}

/** Reads an ELF file whole; `undefined` when it is none, or one of another kind of machine. */
export async function readElf(path: string): Promise<Elf | undefined> {
  return parseElf(await readFile(path));
}

/** See `readElf`. Offsets are those of the ELF-64 object file format, version 1.5. */
export function parseElf(file: Buffer): Elf | undefined {
  if (file.length < 64 || file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) return undefined;
  const table = (offsetAt: number, sizeAt: number, countAt: number): Buffer[] => {
    const start = Number(file.readBigUInt64LE(offsetAt));
    const size = file.readUInt16LE(sizeAt);
    const rows = Array.from({ length: file.readUInt16LE(countAt) }, (_, i) => file.subarray(start + i * size, start + (i + 1) * size));
    return rows.filter((row) => row.length === size && size >= 56);
  };
  const programs = table(32, 54, 56);
  const sections = table(40, 58, 60);
  const bytes = (header: Buffer): Buffer => {
    const offset = Number(header.readBigUInt64LE(24));
    return file.subarray(offset, offset + Number(header.readBigUInt64LE(32)));
  };
  const nameTable = sections[file.readUInt16LE(62)];
  const names = nameTable ? bytes(nameTable) : Buffer.alloc(0);
  const nameOf = (header: Buffer): string => {
    const start = header.readUInt32LE(0);
    return names.subarray(start, names.indexOf(0, start)).toString("latin1");
  };
  return {
    section(name) {
      const header = sections.find((each) => each.length >= 64 && nameOf(each) === name);
      return header && bytes(header);
    },
    dynamic: programs.some((header) => header.readUInt32LE(0) === PROGRAM_INTERPRETER),
  };
}
