import { type Call, TapvisorError } from "tapvisor/plugin";
import { readElf } from "./elf.ts";
import { needProgram, runProgram } from "./program.ts";

/**
 * The shared libraries and the loader that a program of the host needs, as absolute paths: the guest keeps them where they are.
 *
 * @throws HOST_MISSING when one of them is not installed.
 */
export async function sharedLibraries(program: string, call: Call): Promise<string[]> {
  if (!(await readElf(program))?.dynamic) return [];
  const ldd = await needProgram("ldd", "libc-bin");
  const listing = await runProgram(ldd, [program], call, { action: `list the libraries of ${program}`, timeoutMs: 10_000 });
  return parseListing(program, listing);
}

/** The paths in what `ldd` prints: `name => /path (0x…)`, or the loader's bare `/path (0x…)`. The kernel's own vdso has no path. */
export function parseListing(program: string, listing: string): string[] {
  const [, absent] = /^\s*(\S+) => not found/m.exec(listing) ?? [];
  if (absent !== undefined) {
    throw new TapvisorError("HOST_MISSING", `Cannot put ${program} into the guest: its library ${absent} is not installed`, {
      data: { what: absent, wanted: `a library that ${program} needs` },
    });
  }
  return [...listing.matchAll(/^\s*(?:\S+ => )?(\/\S+) \(0x[0-9a-f]+\)$/gm)].flatMap(([, path]) => path ?? []).sort();
}
