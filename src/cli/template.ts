import { formatBytes, MiB } from "../base/units.ts";
import type { SandboxOptions } from "../config/sandbox-config.ts";
import type { Engine } from "../engine/engine.ts";
import type { Template } from "../template/templates.ts";
import { CliError } from "./cli-error.ts";
import { EXIT } from "./exit-codes.ts";
import { type EngineFlags, withEngine } from "./open-engine.ts";
import { columns, writeJson, writeLines } from "./output.ts";

export interface TemplateFlags extends EngineFlags {
  readonly json?: boolean;
  readonly all?: boolean;
  readonly memory?: string;
  readonly vcpus?: string | number;
  readonly group?: string;
}

const VERBS = ["ls", "build", "rm"] as const;

/** `tapvisor template ls | build | rm <key>…`: the saved VMs from which sandboxes go on. */
export function templateCommand(verb: string, keys: readonly string[], { json, all, memory, vcpus, group, ...flags }: TemplateFlags) {
  if (!VERBS.includes(verb as (typeof VERBS)[number]))
    throw new CliError(EXIT.usage, `Unknown verb "${verb}" of template: wanted one of ${VERBS.join(", ")}`);
  if (verb !== "rm" && keys.length > 0) throw new CliError(EXIT.usage, `Unexpected argument "${keys[0]}" of template ${verb}`);
  if (verb === "rm" && keys.length === 0 && !all)
    throw new CliError(EXIT.usage, "template rm wants the beginning of a key", { hint: "or --all" });
  return withEngine(flags, async (engine) => {
    const options: SandboxOptions = {
      ...(memory === undefined ? {} : { memory }),
      ...(vcpus === undefined ? {} : { vcpus: Number(vcpus) }),
      ...(group === undefined ? {} : { template: group }),
    };
    const found =
      verb === "rm"
        ? await remove(engine, all ? [] : keys)
        : verb === "build"
          ? [await engine.buildTemplate(options)]
          : await engine.templates();
    if (json) writeJson(found);
    else if (verb !== "rm") writeLines(table(found as readonly Template[]));
    return EXIT.ok;
  });
}

function remove(engine: Engine, keys: readonly string[]): Promise<readonly string[]> {
  return engine.removeTemplates(...keys);
}

function table(templates: readonly Template[]): string[] {
  return columns([
    ["KEY", "STATE", "GROUP", "VCPUS", "MEMORY", "SIZE", "USERS", "CREATED"],
    ...templates.map(({ key, state, group = "-", vcpus, memoryBytes, bytes, users, created = "-" }) => [
      key.slice(0, 12),
      state,
      group,
      vcpus === undefined ? "-" : String(vcpus),
      memoryBytes === undefined ? "-" : formatBytes(memoryBytes),
      formatBytes(Math.ceil(bytes / MiB) * MiB),
      String(users),
      created,
    ]),
  ]);
}
