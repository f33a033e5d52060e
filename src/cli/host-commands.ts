import { doctor } from "./doctor.ts";
import type { HostView, HostViewOptions } from "./host-view.ts";
import { openHost } from "./open-host.ts";
import { ownPackage } from "./own-modules.ts";
import { painter } from "./paint.ts";
import type { DoctorFlags, SetupFlags } from "./program.ts";
import { registerScriptHooks } from "./script-hooks.ts";
import { setup, terminalQuestion } from "./setup.ts";

/** `tapvisor doctor`: findings on stdout. */
export function doctorCommand({ json, ...host }: DoctorFlags): Promise<number> {
  const write = (text: string) => void process.stdout.write(text);
  return withHost(host, (view) => doctor(view, { json: json ?? false, write, paint: painter(process.stdout) }));
}

/** `tapvisor setup`: everything it says goes to stderr, since it has no data to give. */
export function setupCommand({ yes, ...host }: SetupFlags): Promise<number> {
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  return withHost(host, (view) => setup(view, { yes: yes ?? false, say, ask: terminalQuestion(), paint: painter(process.stderr) }));
}

async function withHost(options: HostViewOptions, work: (view: HostView) => Promise<number>): Promise<number> {
  registerScriptHooks(ownPackage(import.meta.url)); // a configuration may list plugins written in TypeScript
  const view = await openHost(options);
  try {
    return await work(view);
  } finally {
    await view.close();
  }
}
