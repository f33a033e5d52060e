/** What a conformance suite registers its tests with: uvu's, node:test's or one's own. The caller runs them. */
export interface TestRegistrar {
  test(name: string, body: () => Promise<void>): void;
}
