/** Exchanges names as fast as a process can until its parent ends it: argv is the directory that holds `real`, and what links lead to. */
import { renameSync, symlinkSync, unlinkSync } from "node:fs";
import { join } from "node:path";

const [directory = "", ...targets] = process.argv.slice(2);
const [real, name] = [join(directory, "real"), join(directory, "d")];
process.send?.("ready");
for (let turn = 0; ; turn++) {
  renameSync(real, name);
  renameSync(name, real);
  symlinkSync(targets[turn % targets.length] ?? "/", name);
  unlinkSync(name);
}
