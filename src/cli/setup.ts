import { createInterface } from "node:readline/promises";
import { TapvisorError } from "../base/errors.ts";
import type { Finding } from "../contracts/finding.ts";
import { CliError } from "./cli-error.ts";
import { findInstaller, type Installer, installCommand, installPackages } from "./debian-packages.ts";
import { formatFindings } from "./doctor.ts";
import { EXIT } from "./exit-codes.ts";
import type { HostView } from "./host-view.ts";
import type { Paint } from "./paint.ts";

export interface SetupOptions {
  /** Do not ask. */
  readonly yes: boolean;
  readonly paint: Paint;
  readonly say: (line: string) => void;
  /** Asks on the terminal; absent where there is none. */
  readonly ask?: ((question: string) => Promise<boolean>) | undefined;
  readonly findInstaller?: typeof findInstaller;
  readonly installPackages?: typeof installPackages;
}

/**
 * Makes this host able to run VMs: installs the Debian packages that the plugins miss, then builds the guest. Says first what it will do.
 * Progress goes to `say`; nothing is installed before the answer is yes.
 */
export async function setup(host: HostView, options: SetupOptions): Promise<number> {
  const packages = missingPackages(await host.findings());
  const steps = [
    ...(packages.length > 0 ? [`install the Debian packages ${packages.join(", ")}`] : []),
    "build the guest's kernel, initrd and image, unless they are in the cache already",
  ];
  options.say(`setup will ${steps.join(", and ")}`);
  await confirm(packages, options);
  if (packages.length > 0) {
    const installer: Installer = await (options.findInstaller ?? findInstaller)(packages);
    options.say(`installing ${packages.join(", ")}`);
    await (options.installPackages ?? installPackages)(installer);
  }
  await host.prepareGuest(options.say);
  const still = (await host.findings()).filter((finding) => finding.level === "missing");
  if (still.length > 0) {
    for (const line of formatFindings(still, options.paint)) options.say(line);
    options.say("setup did what it could, and these are still missing");
    return EXIT.failed;
  }
  options.say("ready: `tapvisor run script.ts`");
  return EXIT.ok;
}

/** Each once, in the order they were asked for. */
export function missingPackages(findings: readonly Finding[]): string[] {
  const missing = findings.filter(({ level }) => level === "missing");
  return [...new Set(missing.flatMap(({ packages }) => packages ?? []))];
}

async function confirm(packages: readonly string[], { yes, ask }: SetupOptions): Promise<void> {
  if (yes) return;
  if (!ask) {
    throw new CliError(EXIT.usage, "Cannot ask whether to go on: standard input is not a terminal", {
      hint: `run \`tapvisor setup --yes\`${packages.length > 0 ? `, or install the packages yourself: ${installCommand(packages)}` : ""}`,
    });
  }
  if (!(await ask("go on?"))) throw new TapvisorError("ABORTED", "Cannot finish the setup: the answer was no", { data: { what: "setup" } });
}

/** Asks on the terminal, through stderr since stdout is for data; `undefined` where nobody can answer. */
export function terminalQuestion(): SetupOptions["ask"] {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined;
  return async (question) => {
    const terminal = createInterface({ input: process.stdin, output: process.stderr });
    try {
      return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
    } finally {
      terminal.close();
    }
  };
}
