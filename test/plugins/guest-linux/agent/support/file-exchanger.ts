/**
 * Exchanges names as fast as a process can until its parent ends it: argv is the directory that holds `real`, and what links lead to. `d` is a directory, a
 * link or nothing, `f` a file or a link to a `file`, one at once after the other.
 */
import { renameSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [directory = "", ...targets] = process.argv.slice(2);
const [real, name] = [join(directory, "real"), join(directory, "d")];
const [file, next] = [join(directory, "f"), join(directory, "next")];
process.send?.("ready");
for (let turn = 0; ; turn++) {
  const target = targets[turn % targets.length] ?? "/";
  attempt(() => renameSync(real, name));
  attempt(() => renameSync(name, real));
  attempt(() => symlinkSync(target, name));
  attempt(() => unlinkSync(name));
  attempt(() => writeFileSync(next, "inside"));
  attempt(() => renameSync(next, file));
  attempt(() => symlinkSync(`${target}/file`, next));
  attempt(() => renameSync(next, file));
}

/** What it exchanges is taken away meanwhile: the next turn finds it again. */
function attempt(work: () => void): void {
  try {
    work();
  } catch {}
}
