import type { SandboxContext } from "../engine/context.ts";

/** The owner of what the hypervisor holds for a sandbox. */
export function hypervisorOf(sb: SandboxContext): string {
  return `hypervisor:${sb.journal.record.providers.hypervisor}`;
}
