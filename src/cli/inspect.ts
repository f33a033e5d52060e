import { formatBytes } from "../base/units.ts";
import type { SandboxInspection, VmInspection } from "../engine/inspect.ts";
import { EXIT } from "./exit-codes.ts";
import { type EngineFlags, withEngine } from "./open-engine.ts";
import { columns, writeJson, writeLines } from "./output.ts";

export interface InspectFlags extends EngineFlags {
  readonly json?: boolean;
}

/** `tapvisor inspect <id>`: what the record of a sandbox says, without attaching to it. */
export function inspectCommand(id: string, { json, ...flags }: InspectFlags): Promise<number> {
  return withEngine(flags, async (engine) => {
    const found = await engine.inspect(id);
    if (json) writeJson(found);
    else writeLines(describe(found));
    return EXIT.ok;
  });
}

function describe(found: SandboxInspection): string[] {
  const { containers, disks, holdings, left, resources } = found;
  return [
    ...columns([["sandbox", found.id], ...facts(found)]),
    ...section(
      "containers",
      containers.map(({ id, state, exitCode, command }) => [id, ended(state, exitCode), command.join(" ")]),
    ),
    ...section(
      "requests",
      Object.entries(resources.requests).map(([container, asked]) => [container, size(asked)]),
    ),
    ...section(
      "disks",
      disks.map(({ id, path, readonly, attachments }) => [id, path, readonly ? "read-only" : "writable", attachments.join(", ")]),
    ),
    ...section(
      "holdings",
      holdings.map(({ step, kind, owner, container, status }) => [step, kind, owner, container ?? "-", status]),
    ),
    ...section(
      "left",
      left.map(({ step, kind, owner, reason }) => [step, kind, owner, reason]),
    ),
  ];
}

function facts({ state, created, detached, owner, vm, vcpus, memoryBytes, resources, annotations }: SandboxInspection): string[][] {
  return [
    ["state", state],
    ["created", created],
    ["detached", detached ? "yes" : "no"],
    ["owner", owner ? `process ${owner.pid}, ${owner.alive ? "alive" : "gone"}` : "none"],
    ["vm", vm ? describeVm(vm) : "none"],
    ["size", `${size(resources.granted)} of ${size(resources.target)} wanted, booted with ${size({ vcpus, memoryBytes })}`],
    ...Object.entries(annotations).map(([name, value]) => ["annotation", `${name}=${value}`]),
  ];
}

function describeVm({ pid, alive, accelerator, runDirectory }: VmInspection): string {
  const process = pid === undefined ? "no process" : `process ${pid}, ${alive ? "alive" : "gone"}`;
  return `${process}, ${accelerator}, ${runDirectory}`;
}

function size({ vcpus, memoryBytes }: { readonly vcpus: number; readonly memoryBytes: number }): string {
  return `${vcpus} vCPU and ${formatBytes(memoryBytes)}`;
}

function ended(state: string, exitCode: number | undefined): string {
  return exitCode === undefined ? state : `${state} (${exitCode})`;
}

function section(title: string, rows: readonly (readonly string[])[]): string[] {
  return rows.length === 0 ? [] : [`${title}:`, ...columns(rows).map((line) => `  ${line}`)];
}
