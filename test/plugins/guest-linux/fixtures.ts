import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pino } from "pino";
import { BOOT_MODULES, LATER_MODULES } from "../../../plugins/guest-linux/image/modules.ts";
import type { Call } from "../../../src/contracts/holding.ts";

export const RELEASE = "6.1.0-9-cloud-amd64";

export function call(signal: AbortSignal = new AbortController().signal): Call {
  return { signal, log: pino({ level: "silent" }) };
}

/** An ELF file with one section, as a compiler would lay it out: header, section bytes, names, section table. */
export function elfWith(section: string, content: string): Buffer {
  const body = Buffer.from(content, "latin1");
  const names = Buffer.from(`\0${section}\0.shstrtab\0`, "latin1");
  const header = Buffer.alloc(64);
  header.writeUInt32BE(0x7f454c46, 0);
  header.set([2, 1, 1], 4);
  header.writeBigUInt64LE(BigInt(64 + body.length + names.length), 40);
  header.writeUInt16LE(64, 58);
  header.writeUInt16LE(3, 60);
  header.writeUInt16LE(2, 62);
  const row = (name: number, offset: number, size: number): Buffer => {
    const bytes = Buffer.alloc(64);
    bytes.writeUInt32LE(name, 0);
    bytes.writeBigUInt64LE(BigInt(offset), 24);
    bytes.writeBigUInt64LE(BigInt(size), 32);
    return bytes;
  };
  const table = [Buffer.alloc(64), row(1, 64, body.length), row(section.length + 2, 64 + body.length, names.length)];
  return Buffer.concat([header, body, names, ...table]);
}

export function moduleFile(depends: readonly string[] = [], release = RELEASE): Buffer {
  return elfWith(".modinfo", `license=GPL\0depends=${depends.join(",")}\0vermagic=${release} SMP preempt mod_unload modversions \0`);
}

/** A bzImage as far as its set-up header goes. */
export function kernelFile(release = RELEASE): Buffer {
  const file = Buffer.alloc(4096);
  file.write("HdrS", 0x202, "latin1");
  file.writeUInt16LE(0x600, 0x20e);
  file.write(`${release} (builder@host) #1 SMP\0`, 0x800, "latin1");
  return file;
}

export async function writeFiles(root: string, files: Readonly<Record<string, string | Buffer>>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }
}

/** A system root with a kernel that has every module the guest wants. */
export async function writeKernel(root: string, release = RELEASE): Promise<void> {
  const names = [...BOOT_MODULES, ...LATER_MODULES];
  await writeFiles(root, {
    [`boot/vmlinuz-${release}`]: kernelFile(release),
    [`lib/modules/${release}/kernel/drivers/virtio/virtio.ko`]: moduleFile([], release),
    ...Object.fromEntries(names.map((name) => [`lib/modules/${release}/kernel/${name}.ko`, moduleFile(["virtio"], release)])),
  });
}

/** Sets variables of the environment for a scope. */
export function environment(values: Readonly<Record<string, string>>): Disposable {
  const before = Object.fromEntries(Object.keys(values).map((name) => [name, process.env[name]]));
  Object.assign(process.env, values);
  return {
    [Symbol.dispose]() {
      for (const [name, value] of Object.entries(before)) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    },
  };
}

/** Writes a program that is a shell script. */
export async function writeProgram(path: string, script: string): Promise<void> {
  await writeFiles(dirname(path), { [path.slice(dirname(path).length + 1)]: `#!/bin/sh\n${script}\n` });
  execFileSync("chmod", ["+x", path]);
}

/** What a promise is rejected with. */
export async function failureOf(promise: Promise<unknown>): Promise<{ code?: string; message: string; hint?: string; data?: object }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("wanted a failure, it resolved");
}
