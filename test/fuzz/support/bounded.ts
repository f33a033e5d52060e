import * as assert from "uvu/assert";

export interface Bounds {
  readonly bytes: number;
  readonly text: number;
  readonly entries: number;
  /** Text may hold anything. */
  readonly raw?: boolean;
}

const UNSAFE = /[\p{Cc}\p{Cs}\p{Bidi_Control}\u2028\u2029]/u;

/** Asserts that a value from the guest has exact numbers, short lists, and only text that a terminal shows as it is. */
export function assertBounded(value: unknown, bounds: Bounds, path = "value"): void {
  if (value === undefined || typeof value === "boolean") return;
  if (typeof value === "number") assert.ok(Number.isSafeInteger(value) && value >= 0, `${path} is ${value}`);
  else if (typeof value === "string" && bounds.raw) assert.ok(value.length <= bounds.text, `${path} has ${value.length} characters`);
  else if (typeof value === "string") assertSafeText(value, bounds.text, path);
  else if (value instanceof Uint8Array) assert.ok(value.length <= bounds.bytes, `${path} has ${value.length} bytes`);
  else assertEntries(value, bounds, path);
}

function assertEntries(value: unknown, bounds: Bounds, path: string): void {
  assert.type(value, "object", path);
  const entries = Object.entries(value as object);
  assert.ok(entries.length <= bounds.entries, `${path} has ${entries.length} entries`);
  for (const [key, each] of entries) {
    assertSafeText(key, bounds.text, `a key of ${path}`);
    assertBounded(each, bounds, `${path}.${key}`);
  }
}

export function assertSafeText(text: string, most: number, path: string): void {
  assert.ok(text.length <= most, `${path} has ${text.length} characters`);
  assert.not.match(text, UNSAFE, `${path} is ${JSON.stringify(text)}`);
}
