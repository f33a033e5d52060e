import { readdir, stat } from "node:fs/promises";
import { join, posix } from "node:path";
import type { OciSpec } from "tapvisor/plugin";
import { StatusError } from "../status.ts";

const PHASES = ["prestart", "poststart", "poststop"] as const;

/** How long one may run, seconds: the runtime kills it then, and the container does not start. */
const TIMEOUT_SECONDS = 10;

/** A program that the runtime runs in the guest, outside of the container, with the container's state on its standard input. */
interface GuestHook {
  readonly path: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly timeout: number;
}

export type GuestHooks = Readonly<Partial<Record<(typeof PHASES)[number], readonly GuestHook[]>>>;

/** @throws INVALID_ARGUMENT. */
export function checkHookPath(path: string): void {
  if (path === "" || (posix.isAbsolute(path) && !path.includes("\0") && !path.split("/").includes(".."))) return;
  throw new StatusError("INVALID_ARGUMENT", `Cannot use guest_hook_path ${JSON.stringify(path)}: wanted an absolute path without ".."`);
}

/** The executable files of each phase's directory, by name; a directory that is not there has none. */
export async function findHooks(path: string): Promise<GuestHooks> {
  if (path === "") return {};
  const found = await Promise.all(PHASES.map(async (phase) => [phase, await hooksIn(join(path, phase), phase)] as const));
  return Object.fromEntries(found.filter(([, hooks]) => hooks.length > 0));
}

async function hooksIn(directory: string, phase: string): Promise<readonly GuestHook[]> {
  const names = (await readdir(directory).catch(() => [])).sort();
  const hooks = names.map(async (name) => {
    const path = join(directory, name);
    const found = await stat(path).catch(() => undefined);
    const isProgram = found?.isFile() === true && (found.mode & 0o111) !== 0;
    return isProgram ? [{ path, args: [name, phase], env: ["PATH=/usr/bin"], timeout: TIMEOUT_SECONDS }] : [];
  });
  return (await Promise.all(hooks)).flat();
}

/** The same configuration with these hooks after its own. */
export function withHooks(config: OciSpec, hooks: GuestHooks): OciSpec {
  if (Object.keys(hooks).length === 0) return config;
  const own: GuestHooks = "hooks" in config ? (config.hooks as GuestHooks) : {};
  return {
    ...config,
    hooks: Object.fromEntries(PHASES.map((phase) => [phase, [...(own[phase] ?? []), ...(hooks[phase] ?? [])]])),
  } as OciSpec;
}
