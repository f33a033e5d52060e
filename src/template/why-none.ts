import { TapvisorError } from "../base/errors.ts";
import type { SandboxConfig } from "../config/sandbox-config.ts";
import type { BootAssets } from "../contracts/guest.ts";
import type { EngineContext } from "../engine/context.ts";

/** Why a sandbox of this configuration boots in place of going on from a template; `undefined` when it need not. */
export async function whyNone(engine: EngineContext, config: SandboxConfig, boot: BootAssets): Promise<string | undefined> {
  if (config.template === false) return "sandbox.template is false";
  if (!engine.templates.enabled) return "the engine's templates are switched off";
  const { capabilities } = await engine.slot("hypervisor");
  if (!capabilities.templates) return `the hypervisor ${engine.providers.hypervisor} cannot save a VM`;
  if (!boot.cloneable) return `the guest ${engine.providers.guest} cannot take on a new identity`;
  return undefined;
}

/** @throws UNSUPPORTED when the sandbox insists on a template. */
export function requireTemplate(id: string, { template }: SandboxConfig, why: string): void {
  if (!template) return;
  throw new TapvisorError("UNSUPPORTED", `Cannot create sandbox "${id}" from a template: ${why}`, {
    data: { what: "templates" },
    hint: "leave sandbox.template out, and it boots where it has to",
  });
}
