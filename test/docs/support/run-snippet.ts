import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createEngine, type Engine, type EngineConfig } from "tapvisor";
import { sharedFakeWorld } from "tapvisor/testing";
import { tempDirectory } from "../../support/temp.ts";
import { addPrograms } from "./fake-programs.ts";
import { relocated, type Snippet } from "./find-snippets.ts";

/** A directory with the files that the documents name, for snippets to run in: the working directory while it is there. */
export async function scene() {
  const directory = await tempDirectory();
  const before = { cwd: process.cwd(), root: process.env.TAPVISOR_ROOT, templates: process.env.TAPVISOR_TEMPLATES };
  for (const each of ["rootfs", "data"]) await mkdir(join(directory.path, each));
  await writeFile(join(directory.path, "data/greeting"), "hello from the host\n");
  for (const image of ["scratch", "rootfs", "files"]) {
    execFileSync("mkfs.ext4", ["-q", join(directory.path, `${image}.img`), "1M"], { stdio: "ignore" });
  }
  addPrograms(sharedFakeWorld());
  process.chdir(directory.path);
  process.env.TAPVISOR_ROOT = join(directory.path, "root");
  process.env.TAPVISOR_TEMPLATES = join(directory.path, "templates");
  return {
    path: directory.path,
    async [Symbol.asyncDispose]() {
      process.chdir(before.cwd);
      putBack("TAPVISOR_ROOT", before.root);
      putBack("TAPVISOR_TEMPLATES", before.templates);
      await directory[Symbol.asyncDispose]();
    },
  };
}

function putBack(name: string, value: string | undefined): void {
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}

/** Writes a snippet as a module of the scene, its engines on the fakes; gives its path. */
export async function writeModule(snippet: Snippet, directory: string, name: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, onFakes(relocated(snippet)));
  return path;
}

/** Imports a snippet, which runs it. Gives what it exports. */
export async function runModule(path: string): Promise<Readonly<Record<string, unknown>>> {
  return import(pathToFileURL(path).href);
}

/** On the line that the code begins with, so that the others keep their numbers. */
const FAKES = 'import { presetFake as fakes } from "tapvisor/plugins/preset-fake"; ';
const PRESET = "preset: fakes({ hypervisor: { cloneable: true } })";

/** The same code with every engine that names no preset on the one without a VM. */
function onFakes(text: string): string {
  const engine = /createEngine\((\{(?![^}]*\bpreset:)|(?=\)))/g;
  return FAKES + text.replace(engine, (_, options: string) => (options ? `createEngine({ ${PRESET},` : `createEngine({ ${PRESET} }`));
}

/** An engine on the fakes with what a configuration file names. */
export function fakeEngineWith(config: Pick<EngineConfig, "plugins" | "slots">): Promise<Engine> {
  return createEngine({ preset: "fake", config });
}
