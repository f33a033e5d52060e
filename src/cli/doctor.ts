import type { Finding } from "../contracts/finding.ts";
import { EXIT } from "./exit-codes.ts";
import type { HostView } from "./host-view.ts";
import type { Paint } from "./paint.ts";

export interface DoctorOutput {
  readonly json: boolean;
  readonly write: (text: string) => void;
  readonly paint: Paint;
}

/** Prints everything the plugins found on this host, each with what mends it; the exit code is not zero when something needed is missing. */
export async function doctor(host: HostView, output: DoctorOutput): Promise<number> {
  const findings = await host.findings();
  const missing = findings.filter((finding) => finding.level === "missing");
  if (output.json) output.write(`${JSON.stringify({ ok: missing.length === 0, findings }, null, 2)}\n`);
  else output.write(`${formatFindings(findings, output.paint).join("\n")}\n${verdict(missing)}\n`);
  return missing.length === 0 ? EXIT.ok : EXIT.failed;
}

const COLOURS = { ok: "green", degraded: "yellow", missing: "red" } as const;

/** One line for each finding, and one for its fix. */
export function formatFindings(findings: readonly Finding[], paint: Paint): string[] {
  const width = Math.max(0, ...findings.map(({ check }) => check.length));
  return findings.flatMap(({ level, check, found, fix }) => {
    const line = `${paint(COLOURS[level], level.padEnd(8))}  ${check.padEnd(width)}  ${found}`;
    return fix && level !== "ok" ? [line, `${" ".repeat(10)}${paint("bold", "fix:")} ${fix}`] : [line];
  });
}

function verdict(missing: readonly Finding[]): string {
  if (missing.length === 0) return "Everything that is needed is there";
  const fix = missing.some(({ packages }) => packages?.length) ? ": `tapvisor setup` installs and builds it" : "";
  return `${missing.length} needed ${missing.length === 1 ? "thing is" : "things are"} missing${fix}`;
}
