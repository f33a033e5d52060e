import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatBytes } from "../base/units.ts";
import type { VmSize } from "../contracts/hypervisor.ts";
import type { HotplugEvent } from "../engine/hook-events.ts";
import { planOnly } from "../engine/plan-mode.ts";
import type { Plan } from "../plan/plan.ts";
import { type RunOptions, runScript } from "./run.ts";

/**
 * `tapvisor plan <script>`: runs a script whose engines act in memory only. Each command in its containers ends at once with 0 and prints nothing. What
 * the script itself prints goes to stderr; stdout has the plans.
 */
export async function planScript({ json, ...script }: RunOptions & { readonly json: boolean }): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), "tapvisor-plan-"));
  const write = process.stdout.write.bind(process.stdout);
  process.stdout.write = process.stderr.write.bind(process.stderr);
  const plans: Plan[] = [];
  planOnly({
    preset: "plan",
    root,
    report(plan) {
      plans.push(plan);
      if (!json) write(`${describe(plan).join("\n")}\n`);
    },
  });
  process.once("exit", () => {
    if (json) write(`${JSON.stringify(plans, null, 2)}\n`);
    rmSync(root, { recursive: true, force: true });
  });
  await runScript(script);
}

function describe({ sandbox, change, hotplugs, commands, before, after }: Plan): string[] {
  const changed = (pick: (size: VmSize) => string) => `${pick(before.target)} -> ${pick(after.target)}`;
  return [
    `${change} in sandbox ${sandbox}`,
    ...hotplugs.map((event) => `  ${event.action} ${event.kind}: ${requestOf(event)}`),
    ...commands.map(({ command, arguments: given }) => `  qmp ${command} ${JSON.stringify(given)}`),
    `  vCPUs ${changed(({ vcpus }) => String(vcpus))} (at most ${after.limits.vcpus})`,
    `  memory ${changed(({ memoryBytes }) => formatBytes(memoryBytes))} (at most ${formatBytes(after.limits.memoryBytes)})`,
    ...(after.clampedFrom === undefined ? [] : [`  warning: ${after.clampedFrom} vCPUs are asked for`]),
  ];
}

function requestOf(event: HotplugEvent): string {
  switch (event.kind) {
    case "vcpu":
      return String(event.request.count);
    case "memory":
      return formatBytes(event.request.bytes);
    case "block":
      return `${event.request.path}${event.request.readonly ? " (read-only)" : ""}`;
    case "share":
      return event.request.entries.map(({ source, readonly }) => `${source}${readonly ? " (read-only)" : ""}`).join(", ");
    case "nic":
      return event.request.id;
  }
}
