import { inspect } from "node:util";
import { z } from "zod";
import { TapvisorError } from "../base/errors.ts";
import { checkId } from "../base/ids.ts";
import { printable } from "../base/printable.ts";
import { parseBytes, SIZE_FORM } from "../base/units.ts";

/**
 * The value as its schema describes it, defaults filled in.
 * @throws INVALID_INPUT naming the first bad field, its value, and what is wanted: a script is not type-checked when it runs.
 */
export function validate<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issueField(issue);
  const given = valueAt(value, issue?.path ?? []);
  const field = path ? `${what}.${printable(path)}` : what;
  const message = (issue?.code === "invalid_key" ? issue.issues[0]?.message : issue?.message) ?? "invalid";
  throw new TapvisorError("INVALID_INPUT", `Cannot use ${field} ${show(given)}: ${printable(message)}`, {
    data: { path: path || what, value: given, wanted: message },
  });
}

/** The dotted path of the field a schema's complaint is about; an unknown key is the field itself. */
export function issueField(issue: z.core.$ZodIssue | undefined): string {
  const path = (issue?.path ?? []).map(String);
  return [...path, ...(issue?.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : [])].join(".");
}

export function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((at, key) => (typeof at === "object" && at !== null ? Reflect.get(at, key) : undefined), value);
}

export function show(value: unknown): string {
  const text = textOf(value);
  return printable(text.length > 120 ? `${text.slice(0, 120)}…` : text);
}

function textOf(value: unknown): string {
  if (typeof value === "bigint" || typeof value === "function") return String(value);
  try {
    return JSON.stringify(value) ?? "(missing)";
  } catch {
    return inspect(value, { breakLength: Number.POSITIVE_INFINITY }); // JSON has no cycles and no bigints
  }
}

/** A size in bytes, from `"512MiB"` or a number. */
export const bytesSchema = z.unknown().transform((value, context) => {
  const bytes = parseBytes(value);
  if (bytes !== undefined && bytes > 0) return bytes;
  context.addIssue({ code: "custom", message: `wanted ${SIZE_FORM}` });
  return z.NEVER;
});

/** An id that can become a file name. */
export const idSchema = z.unknown().transform((value, context) => {
  try {
    return checkId("id", value);
  } catch {
    context.addIssue({ code: "custom", message: 'wanted a letter followed by at most 30 letters, digits, "_", "." or "-"' });
    return z.NEVER;
  }
});

/** A path that the kernel takes. */
export const pathText = z
  .string("wanted a path")
  .min(1, "wanted a path")
  .max(4095, "wanted a path of at most 4095 bytes")
  .refine((path) => !path.includes("\0"), "wanted a path without NUL");

/** A word without control characters: it goes to command lines, logs and the guest. */
export const textSchema = z.string().refine((text) => !/[\0-\x1f\x7f]/.test(text), "wanted text without control characters");

/** A value whose form tells its schema, so that a complaint names the field that is wrong and not the whole, as a union's would. */
export function formOf<T>(choose: (given: unknown) => z.ZodType<T>) {
  return z.unknown().transform((given, context): T => {
    const parsed = choose(given).safeParse(given);
    if (parsed.success) return parsed.data;
    for (const issue of parsed.error.issues) context.addIssue({ ...issue } as never);
    return z.NEVER;
  });
}
