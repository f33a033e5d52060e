import { checksOn, type SuiteOptions } from "./conformance/checks.ts";
import { diskChecks } from "./hypervisor-suite/disk-checks.ts";
import type { HypervisorFixture } from "./hypervisor-suite/fixture.ts";
import { vmHoldingChecks } from "./hypervisor-suite/holding-checks.ts";
import { shareChecks } from "./hypervisor-suite/share-checks.ts";
import { sizingChecks } from "./hypervisor-suite/sizing-checks.ts";
import { vmViewChecks } from "./hypervisor-suite/view-checks.ts";

export { type GuestBehaviour, HOSTILE_TEXT, type HypervisorFixture } from "./hypervisor-suite/fixture.ts";

/**
 * What every hypervisor must do, as tests: some 70, most of which start a VM or two. A guest of a few instructions will do for them.
 *
 * @example
 * hypervisorSuite("my hypervisor", makeFixture, { suite: { test: (name, body) => void test(name, body) } });
 */
export function hypervisorSuite(name: string, make: () => Promise<HypervisorFixture>, options: SuiteOptions): void {
  const check = checksOn(name, make, options);
  vmHoldingChecks(check);
  vmViewChecks(check);
  shareChecks(check);
  diskChecks(check);
  sizingChecks(check);
}
