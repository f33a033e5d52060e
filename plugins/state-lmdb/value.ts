import { createHash } from "node:crypto";
import { type Json, TapvisorError } from "tapvisor/plugin";
import { corrupt } from "./errors.ts";

/** A record as JSON. @throws INVALID_INPUT when it would not survive. */
export function textOf(record: Json): string {
  const refuse = (value: unknown) =>
    new TapvisorError("INVALID_INPUT", `Cannot store ${String(value)}: wanted a value that survives JSON`, {
      data: { path: "record", wanted: "JSON" },
    });
  const text: string | undefined = JSON.stringify(record, (_key, value: unknown) => {
    if (["string", "boolean", "undefined", "object"].includes(typeof value) || Number.isFinite(value)) return value;
    throw refuse(value);
  });
  if (text === undefined) throw refuse(record);
  return text;
}

/** The value of a record's entry: its checksum, how often it was written, and its JSON, a line each. */
export function encode(id: string, generation: number, text: string): Uint8Array {
  return Buffer.from(`${checksumOf(id, generation, text)}\n${generation}\n${text}`);
}

/** @throws STATE_CORRUPT naming the file and the id. */
export function decode(file: string, id: string, value: Uint8Array): { readonly generation: number; readonly record: Json } {
  const [, checksum, count, text] = /^(sha256:[0-9a-f]{64})\n([1-9]\d{0,15})\n(.*)$/s.exec(Buffer.from(value).toString()) ?? [];
  if (checksum === undefined || count === undefined || text === undefined || checksum !== checksumOf(id, Number(count), text)) {
    throw corrupt(file, id, "its checksum does not match its content");
  }
  return { generation: Number(count), record: JSON.parse(text) as Json };
}

/** Of the id too: LMDB has no checksums of its own, and a damaged page can show one entry in another's place. */
function checksumOf(id: string, generation: number, text: string): string {
  return `sha256:${createHash("sha256").update(`${id}\n${generation}\n${text}`).digest("hex")}`;
}
