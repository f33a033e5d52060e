import { type DataStreamAnswer, line, MAGIC, object, parseAnswer } from "./preamble.ts";

/**
 * How a guest that goes on from a saved one becomes a machine of its own, over a yamux stream: a call of gRPC would have a clone run through all of HTTP/2 first,
 * and under emulation everything that runs for the first time has to be translated again in each clone.
 *
 *   first line   `tapvisor-stream/1 {"renew":{"entropy":"…","machineId":"…","hostname":"…"},"clock":"1700000000123456789"}`
 *   answer       `{"ok":true,"heldNs":1234567}` once everything is set, or `{"status":"INTERNAL","text":"…"}`; then the end of the stream
 *   more lines   `{"clock":"…"}`, to have the clock set once more; answered alike
 *
 * Before it is saved, a guest is asked on a stream of its own to let the first line be answered by less than its agent:
 *
 *   first line   `tapvisor-stream/1 {"keep":true}`
 *   answer       `{"ok":true,"keeps":true}`; without `keeps` there is nothing more to say
 *   second line  `{"keep":"now"}`, the last bytes of the connection that its agent reads
 *   answer       `{"ok":true}`, from what keeps the port
 *
 * `clock` is the host's time when the line was sent, nanoseconds since 1970; `heldNs` how long the guest had the line before it answered, by its own clock that
 * never jumps. What is left of the round trip bounds how far the clocks can be apart.
 */
export const RENEWAL_VERSION = 1;

export interface Renewal {
  readonly identity: {
    /** 128 hexadecimal digits. */
    readonly entropy: string;
    /** 32 hexadecimal digits. */
    readonly machineId: string;
    readonly hostname: string;
  };
  /** Nanoseconds since 1970. */
  readonly clock: bigint;
}

export interface RenewedAnswer {
  readonly heldNs: number;
}

export function encodeRenewal({ identity, clock }: Renewal): Buffer {
  return Buffer.concat([MAGIC, line({ renew: identity, clock: String(clock) })]);
}

/** The first line of a stream that has the guest get ready to be saved, and the second, which has nobody but its renewer read the port from then on. */
export const KEEP_PREAMBLE = Buffer.concat([MAGIC, line({ keep: true })]);
export const KEEP_NOW = line({ keep: "now" });

export function isKeepPreamble(text: string): boolean {
  return object(text.slice(MAGIC.length)).keep === true;
}

export function encodeClock(clock: bigint): Buffer {
  return line({ clock: String(clock) });
}

export function encodeRenewed({ heldNs }: RenewedAnswer): Buffer {
  return line({ ok: true, heldNs });
}

/** The request of a first line; undefined when it is none. */
export function parseRenewal(text: string): Renewal | undefined {
  const { renew, clock } = object(text.slice(MAGIC.length));
  const ns = clockOf(clock);
  if (typeof renew !== "object" || renew === null || ns === undefined) return undefined;
  const { entropy, machineId, hostname } = renew as Readonly<Record<string, unknown>>;
  if (!isHex(entropy, 128) || !isHex(machineId, 32) || !isHostname(hostname)) return undefined;
  return { identity: { entropy, machineId, hostname }, clock: ns };
}

/** The time of a further line; undefined when it is none. */
export function parseClock(text: string): bigint | undefined {
  return clockOf(object(text).clock);
}

/** The answer in a line; undefined when it is none. */
export function parseRenewed(text: string): RenewedAnswer | Exclude<DataStreamAnswer, { readonly ok: true }> | undefined {
  const answer = parseAnswer(text);
  if (!answer || "status" in answer) return answer;
  const { heldNs } = object(text);
  return typeof heldNs === "number" && Number.isSafeInteger(heldNs) && heldNs >= 0 ? { heldNs } : undefined;
}

/** As far as the kernel takes it: before the year 2232. */
function clockOf(value: unknown): bigint | undefined {
  if (typeof value !== "string" || !/^\d{1,19}$/.test(value)) return undefined;
  const ns = BigInt(value);
  return ns < 8_277_292_036_000_000_000n ? ns : undefined;
}

function isHex(value: unknown, digits: number): value is string {
  return typeof value === "string" && value.length === digits && /^[0-9a-f]*$/.test(value);
}

/** What the kernel takes as a host's name. */
function isHostname(value: unknown): value is string {
  return typeof value === "string" && /^[\x21-\x7e]{1,64}$/.test(value);
}
