/** Conformance suites, fakes and faults, for authors of plugins and for scripts' own tests. Needs no test framework. */
export * from "./testing/agent-suite.ts";
export { type Check, type CheckResult, collectChecks, runChecks, type SuiteOptions } from "./testing/conformance/checks.ts";
export type { FakeFault } from "./testing/fake/faults.ts";
export * from "./testing/fake/operations.ts";
export type { FakeProcessContext, FakeProgram, FakePrograms } from "./testing/fake/programs.ts";
export type * from "./testing/fake/snapshot.ts";
export type { FakeVm } from "./testing/fake/vm.ts";
export * from "./testing/fake-world.ts";
export * from "./testing/fault-injector.ts";
export * from "./testing/guest-suite.ts";
export * from "./testing/hypervisor-suite.ts";
export * from "./testing/quiet-call.ts";
export type * from "./testing/registrar.ts";
export * from "./testing/rootfs-suite.ts";
export * from "./testing/state-store-suite.ts";
export * from "./testing/sweep.ts";
export * from "./testing/transport-suite.ts";
export * from "./testing/with-faults.ts";
