import { watch } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** A directory that stands in for a cgroup: its files, and a kernel that stops and resumes its processes when it is told to. */
export interface FakeCgroup extends AsyncDisposable {
  read(name: string): Promise<string>;
  /** What has been written to `cgroup.freeze`, in order. */
  readonly asked: readonly string[];
}

/** With `stuck` its processes never stop. */
export async function fakeCgroup(directory: string, files: Readonly<Record<string, string>>, { stuck = false } = {}): Promise<FakeCgroup> {
  const all = { "cgroup.freeze": "0", "cgroup.events": "populated 1\nfrozen 0\n", ...files };
  await mkdir(directory, { recursive: true });
  for (const [name, content] of Object.entries(all)) await writeFile(join(directory, name), content);
  const asked: string[] = [];
  const watcher = watch(join(directory, "cgroup.freeze"), async () => {
    const wanted = (await readFile(join(directory, "cgroup.freeze"), "utf8").catch(() => "")).trim();
    if (wanted === "" || wanted === asked.at(-1)) return; // a file is emptied before it is written
    asked.push(wanted);
    if (!stuck) await writeFile(join(directory, "cgroup.events"), `populated 1\nfrozen ${wanted}\n`);
  });
  return {
    asked,
    read: async (name) => (await readFile(join(directory, name), "utf8")).trim(),
    async [Symbol.asyncDispose]() {
      watcher.close();
      for (const name of Object.keys(all)) await rm(join(directory, name), { force: true });
    },
  };
}
