import { lstat, mkdir, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errnoOf, messageOf, TapvisorError } from "../base/errors.ts";

/** The files of one template. */
export interface TemplateFiles {
  readonly directory: string;
  /** The guest's memory. */
  readonly memory: string;
  /** The state of the devices. */
  readonly state: string;
  /** What the other two must be; written last. */
  readonly manifest: string;
  /** An empty file for each sandbox that went on from it. */
  readonly users: string;
}

export function filesIn(directory: string): TemplateFiles {
  const at = (name: string) => join(directory, name);
  return { directory, memory: at("memory"), state: at("state"), manifest: at("manifest.json"), users: at("users") };
}

const KEY = /^[0-9a-f]{64}$/;
/** Where a template is made, beside its place. */
const WORK = ".work-";

export function placeOf(templates: string, key: string): string {
  return join(templates, key);
}

export function workPlaceOf(templates: string, sandbox: string): string {
  return join(templates, `${WORK}${sandbox}`);
}

/** Whether there is a template of this key, whole or damaged. */
export async function isThere(templates: string, key: string): Promise<boolean> {
  try {
    await lstat(placeOf(templates, key));
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw error;
  }
}

/** The keys of the templates there are. */
export async function listKeys(templates: string): Promise<string[]> {
  const names = await readdir(templates).catch((error) => {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  });
  return names.filter((name) => KEY.test(name)).sort();
}

/**
 * Makes the directory of the templates, when it is not there. What is in it is what guests run: it has to be this user's own, and nobody else's to write to,
 * which a directory that stands in a place open to all need not be.
 * @throws INVALID_INPUT when it is not, STATE_IO.
 */
export async function makeTemplatesDirectory(directory: string): Promise<void> {
  try {
    await mkdir(dirname(directory), { recursive: true });
    await mkdir(directory, { mode: 0o700 }).catch((error) => {
      if (errnoOf(error) !== "EEXIST") throw error;
    });
    const found = await lstat(directory);
    const own = found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o022) === 0;
    if (own) return;
  } catch (cause) {
    throw new TapvisorError("STATE_IO", `Cannot make the directory "${directory}" for templates: ${messageOf(cause)}`, {
      data: { file: directory, operation: "mkdir", errno: errnoOf(cause) },
      hint: "choose another one by `templates.directory`, or switch them off by `templates: false`",
      cause,
    });
  }
  const wanted = "a directory of this user's own that nobody else can write to";
  throw new TapvisorError("INVALID_INPUT", `Cannot keep templates in "${directory}": wanted ${wanted}`, {
    data: { path: "templates.directory", value: directory, wanted },
    hint: "remove it, or choose another one by `templates.directory`",
  });
}
