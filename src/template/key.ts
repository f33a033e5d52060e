import { createHash } from "node:crypto";
import { currentBootId } from "../base/process-identity.ts";
import type { SandboxConfig } from "../config/sandbox-config.ts";
import type { BootAssets } from "../contracts/guest.ts";
import type { Call, Json } from "../contracts/holding.ts";
import type { EngineContext } from "../engine/context.ts";
import { savedOn } from "./saved-on.ts";

/** Everything that a template depends on, and the hash by which it is found: where anything differs there is another template. */
export interface TemplateKey {
  readonly key: string;
  readonly group: string;
  readonly inputs: Json;
}

/** The group of those who give no name. */
const EVERYONE = "default";

/** The key of the template that a sandbox of this configuration goes on from. */
export async function templateKey(engine: EngineContext, config: SandboxConfig, boot: BootAssets, call: Call): Promise<TemplateKey> {
  const { vcpus, memoryBytes, limits } = config;
  const group = typeof config.template === "string" ? config.template : EVERYONE;
  const inputs: Json = {
    ...(await savedOn(engine, boot, call)),
    group,
    vcpus,
    memoryBytes,
    limits: { ...limits },
    // After a crash of the host a file may hold less than what was written to it.
    hostBoot: currentBootId(),
  };
  return { key: createHash("sha256").update(JSON.stringify(inputs)).digest("hex"), group, inputs };
}
