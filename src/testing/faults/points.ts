import type { StepEvent } from "../../engine/probe.ts";

/** Where a fault strikes: at a step of an operation. */
export interface FaultPoint {
  readonly step: string;
  /** Before the step runs, after it has run, or when it is about to be released. */
  readonly phase: StepEvent["phase"];
  /** "create container" say; every operation by default. A release has none: there it is not looked at. */
  readonly operation?: string;
  /** The how manyth time this comes by, from 1 (the default) on. */
  readonly nth?: number;
}

/** A fault that waits for its moment. */
export interface Waiting<Point> {
  readonly point: Point;
  /** How often it has come by. */
  seen: number;
  struck: boolean;
}

export function waiting<Point>(point: Point): Waiting<Point> {
  return { point, seen: 0, struck: false };
}

/** Whether a fault strikes now; counts the time either way. */
export function strikes(fault: Waiting<{ readonly nth?: number }>): boolean {
  if (fault.struck) return false;
  fault.seen += 1;
  fault.struck = fault.seen === (fault.point.nth ?? 1);
  return fault.struck;
}

export function isAt(point: FaultPoint, event: StepEvent): boolean {
  if (point.step !== event.step || point.phase !== event.phase) return false;
  return point.operation === undefined || event.operation === undefined || point.operation === event.operation;
}
