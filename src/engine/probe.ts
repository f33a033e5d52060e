/**
 * Told of each step as it is about to run, when it has run, and when it is about to be released. What it throws counts as a failure of that
 * step there, and the step waits for it: the fault injector of `tapvisor/testing` and tracing are made from it.
 */
export type StepProbe = (event: StepEvent) => void | Promise<void>;

export interface StepEvent {
  readonly phase: "before" | "after" | "release";
  readonly step: string;
  readonly operation?: string;
  readonly sandbox?: string;
  readonly container?: string;
}
