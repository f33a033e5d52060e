import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { ShareGrant, VmGrant } from "tapvisor/plugin";
import type { World } from "./world.ts";

export interface Owner extends AsyncDisposable {
  readonly child: ChildProcess;
  /** What it acquired; rejects when it ends without. */
  readonly grants: Promise<{ readonly vm: VmGrant; readonly share?: ShareGrant }>;
  /** SIGKILL, and its end. */
  kill(): Promise<void>;
}

/** A process that owns the VM in the world's intent, and a share when asked. */
export function startOwner(
  { intent, directory }: World,
  { share = false, leave = false, user }: { share?: boolean; leave?: boolean; user?: string } = {},
): Owner {
  const script = fileURLToPath(new URL("./owner.ts", import.meta.url));
  const argument = JSON.stringify({ intent, directory, share, leave, user });
  const child = spawn(process.execPath, ["--import", "tsx", script, argument], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const kill = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  const line = once(createInterface({ input: child.stdout }), "line");
  const grants = Promise.race([line, exited]).then(([text]) => {
    if (typeof text !== "string") throw new Error(`the owner ended with ${String(text)} before it had a VM`);
    return JSON.parse(text) as { vm: VmGrant; share?: ShareGrant };
  });
  grants.catch(() => {});
  return { child, grants, kill, [Symbol.asyncDispose]: kill };
}

/** Starts the world's VM, a detached one, in another process, and resolves when that process has ended by itself. */
export async function startElsewhere(
  w: World,
  options: { share?: boolean; user?: string } = {},
): Promise<{ vm: VmGrant; share?: ShareGrant }> {
  await using owner = startOwner(w, { ...options, leave: true });
  const exited = owner.child.exitCode === null ? once(owner.child, "exit") : undefined;
  const grants = await owner.grants;
  await exited;
  return grants;
}
