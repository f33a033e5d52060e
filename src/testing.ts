/** Conformance suites, fakes and faults, for authors of plugins and for scripts' own tests. Needs no test framework. */
export * from "./testing/quiet-call.ts";
export type * from "./testing/registrar.ts";
export * from "./testing/state-store-suite.ts";
