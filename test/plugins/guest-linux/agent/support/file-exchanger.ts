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
  renameSync(real, name);
  renameSync(name, real);
  const target = targets[turn % targets.length] ?? "/";
  symlinkSync(target, name);
  unlinkSync(name);
  writeFileSync(next, "inside");
  renameSync(next, file);
  symlinkSync(`${target}/file`, next);
  renameSync(next, file);
}
