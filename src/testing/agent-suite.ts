import { connectionChecks } from "./agent-suite/connection-checks.ts";
import { containerChecks } from "./agent-suite/container-checks.ts";
import { diskChecks } from "./agent-suite/disk-checks.ts";
import { execChecks } from "./agent-suite/exec-checks.ts";
import { fileChecks } from "./agent-suite/file-checks.ts";
import type { AgentFixture } from "./agent-suite/fixture.ts";
import { identityChecks } from "./agent-suite/identity-checks.ts";
import { limitChecks } from "./agent-suite/limit-checks.ts";
import { networkChecks } from "./agent-suite/network-checks.ts";
import { pauseChecks } from "./agent-suite/pause-checks.ts";
import { processListChecks } from "./agent-suite/process-list-checks.ts";
import { resourceChecks } from "./agent-suite/resource-checks.ts";
import { streamChecks } from "./agent-suite/stream-checks.ts";
import { systemChecks } from "./agent-suite/system-checks.ts";
import { terminalChecks } from "./agent-suite/terminal-checks.ts";
import { checksOn, type SuiteOptions } from "./conformance/checks.ts";

export type { AgentFixture } from "./agent-suite/fixture.ts";

/**
 * What every agent must do, as tests: the client on the host and what answers it in the guest, together.
 *
 * Each check leaves the guest as it found it, so a fixture may hand out one running guest again and again; see `collectChecks`.
 *
 * @example
 * agentSuite("my agent", makeFixture, { suite });
 */
export function agentSuite(name: string, make: () => Promise<AgentFixture>, options: SuiteOptions): void {
  const check = checksOn(name, make, options);
  connectionChecks(check);
  containerChecks(check);
  streamChecks(check);
  execChecks(check);
  terminalChecks(check);
  processListChecks(check);
  pauseChecks(check);
  limitChecks(check);
  resourceChecks(check);
  diskChecks(check);
  networkChecks(check);
  systemChecks(check);
  fileChecks(check);
  identityChecks(check);
}
