import { createHash } from "node:crypto";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, type Json, type VmGrant, type VmIntent } from "tapvisor/plugin";

/** A VM of the pool that has become a sandbox's: what it is to the hypervisor below. */
export interface HandedOut {
  readonly intent: VmIntent;
  readonly grant?: VmGrant;
}

/** The sandbox's grant of a VM that was handed out to it. It says what the sandbox asked for, and carries the VM's own. */
export function grantOf({ sandbox, nonce, runDirectory }: VmIntent, { intent, grant }: Required<HandedOut>): VmGrant {
  return { ...grant, sandbox, nonce, runDirectory, details: { warmPool: { intent, grant } as unknown as Json } };
}

/** What a grant of the pool carries; `undefined` for one that the hypervisor below gave itself. */
export function handedOutBy(grant: VmGrant | undefined): Required<HandedOut> | undefined {
  const details = grant?.details as { readonly warmPool?: Required<HandedOut> } | null | undefined;
  return details?.warmPool;
}

/** A VM's grant as the hypervisor below knows it. */
export function innerGrant(grant: VmGrant): VmGrant {
  return handedOutBy(grant)?.grant ?? grant;
}

/** Writes down whose the VM is to be, before it is: a crash may leave the sandbox's intent alone. */
export async function writeHandOut(sandbox: VmIntent, { intent }: HandedOut): Promise<void> {
  const content: HandedOut = { intent };
  await writeFile(fileOf(sandbox), JSON.stringify(content), { mode: 0o600 });
}

/** What was handed out for an intent; `undefined` when nothing was. */
export async function readHandOut(sandbox: VmIntent): Promise<HandedOut | undefined> {
  try {
    return JSON.parse(await readFile(fileOf(sandbox), "utf8")) as HandedOut;
  } catch (error) {
    // Half of it: its process has died meanwhile, and what the pool of a dead process holds is swept.
    if (error instanceof SyntaxError || ["ENOENT", "ENOTDIR"].includes(errnoOf(error) ?? "")) return undefined;
    throw error;
  }
}

export async function removeHandOut(sandbox: VmIntent): Promise<void> {
  await rm(fileOf(sandbox), { force: true });
}

/** In the run directory, which goes after the VM; of this VM alone, for a later one has the same directory. */
function fileOf({ runDirectory, nonce }: VmIntent): string {
  return join(runDirectory, `warm-${createHash("sha256").update(nonce).digest("hex").slice(0, 16)}.json`);
}
