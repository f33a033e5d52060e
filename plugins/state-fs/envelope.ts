import { createHash } from "node:crypto";
import { type Json, messageOf, TapvisorError } from "tapvisor/plugin";
import { corrupt } from "./errors.ts";

/** The layout of a record's file. Raised when an older release could misread a newer file. */
export const ENVELOPE_VERSION = 1;

const FORMAT = "tapvisor-state";

/** A record as it lies on disk. */
export interface Envelope {
  /** Counts the writes of this record, from 1. */
  readonly generation: number;
  readonly record: Json;
}

/** The bytes of a record's file. @throws INVALID_INPUT when the record would not survive JSON. */
export function encode({ generation, record }: Envelope): Uint8Array {
  const envelope = { format: FORMAT, version: ENVELOPE_VERSION, generation, checksum: checksumOf(record), record };
  return Buffer.from(`${JSON.stringify(envelope)}\n`);
}

/** The record in a file's bytes. @throws STATE_CORRUPT naming the file: damaged, cut short, another program's, or a newer release's. */
export function decode(file: string, bytes: Uint8Array): Envelope {
  const envelope = parse(file, bytes);
  if (envelope?.format !== FORMAT) throw corrupt(file, "it is not a record of this program");
  const { version, generation, checksum, record } = envelope;
  if (typeof version === "number" && version > ENVELOPE_VERSION) {
    throw corrupt(file, `it has version ${version} from a newer release, wanted version ${ENVELOPE_VERSION}`, {
      hint: "use the newer release for this sandbox; nothing was changed",
    });
  }
  if (version !== ENVELOPE_VERSION || !Number.isSafeInteger(generation) || record === undefined) {
    throw corrupt(file, "a field of its envelope is missing or wrong");
  }
  if (checksum !== checksumOf(record as Json)) throw corrupt(file, "its checksum does not match its content");
  return { generation: generation as number, record: record as Json };
}

function parse(file: string, bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    // fatal: damage must not turn into replacement characters
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined;
  } catch (cause) {
    throw corrupt(file, `it is damaged or cut short: ${messageOf(cause)}`, { cause });
  }
}

function checksumOf(record: Json): string {
  return `sha256:${createHash("sha256").update(canonical(record)).digest("hex")}`;
}

/** One text for one value, whatever the order of its keys, so that the sum is of what the record says and not of how it is laid out. */
function canonical(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const object = value as { readonly [key: string]: Json | undefined };
    const fields = Object.keys(object).sort();
    return `{${fields.flatMap((key) => (object[key] === undefined ? [] : `${JSON.stringify(key)}:${canonical(object[key])}`)).join(",")}}`;
  }
  const plain = value === null || typeof value === "string" || typeof value === "boolean" || Number.isFinite(value);
  if (plain) return JSON.stringify(value);
  throw new TapvisorError("INVALID_INPUT", `Cannot store ${String(value)}: wanted a value that survives JSON`, {
    data: { path: "record", wanted: "JSON" },
  });
}
