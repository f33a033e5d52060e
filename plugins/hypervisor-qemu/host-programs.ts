import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, isAbsolute, join, resolve } from "node:path";
import { TapvisorError } from "tapvisor/plugin";

/** The absolute path of the first of these programs (names on PATH, or paths) that can be executed. */
export async function findProgram(...candidates: readonly string[]): Promise<string | undefined> {
  for (const candidate of candidates) {
    const places = candidate.includes("/")
      ? [resolve(candidate)]
      : (process.env.PATH ?? "")
          .split(delimiter)
          .filter(isAbsolute)
          .map((directory) => join(directory, candidate));
    for (const place of places) if (await isExecutable(place)) return place;
  }
  return undefined;
}

/** @throws HOST_MISSING with the Debian package that has it. */
export async function requireProgram(candidates: readonly string[], debianPackage: string): Promise<string> {
  const found = await findProgram(...candidates);
  if (found) return found;
  const what = candidates[0] ?? "";
  throw new TapvisorError("HOST_MISSING", `Cannot find "${what}": no such program on this host, wanted one that can be executed`, {
    data: { what, wanted: candidates.join(" or ") },
    hint: `install it: apt-get install ${debianPackage}`,
  });
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
