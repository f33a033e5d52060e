import { stat } from "node:fs/promises";
import type { VmIntent } from "tapvisor/plugin";

/** What a waiting VM is for. */
export interface Wanted {
  /** Equal for intents that the same VM can serve. */
  readonly kind: string;
  readonly intent: VmIntent;
}

/**
 * What VM an intent asks for; `undefined` for one that does not go on from a template, has to outlive the script, or whose template is not there: that is for
 * the hypervisor to say.
 */
export async function wantedOf(intent: VmIntent): Promise<Wanted | undefined> {
  const { sandbox: _sandbox, nonce: _nonce, runDirectory: _directory, memory, ...rest } = intent;
  if (intent.detached || intent.plugged || (memory?.kind !== "clone" && memory?.kind !== "copy")) return undefined;
  const { kind, file, state } = memory; // where the copy lies is each VM's own
  const stamps = await Promise.all([file, state].map(stampOf));
  if (stamps.includes(undefined)) return undefined;
  return { kind: JSON.stringify([rest, kind, file, state, stamps]), intent };
}

/** A template that was built anew in the same place is another one. */
async function stampOf(file: string): Promise<string | undefined> {
  const found = await stat(file, { bigint: true }).catch(() => undefined);
  return found && [found.dev, found.ino, found.ctimeNs].join(":");
}
