import { type Call, type GuestIdentity, type RenewedIdentity, TapvisorError } from "tapvisor/plugin";
import { encodeClock, encodeRenewal, parseRenewed } from "tapvisor/protocol";
import { wrong } from "../answers.ts";
import { guestText } from "../guest-text.ts";
import { DEADLINES } from "../limits.ts";
import type { Link } from "../link.ts";
import { exchangeLines, type LineStream } from "./exchange-lines.ts";

/** A clock that may be further from the host's than this, ms, is set again. */
const GOOD_ENOUGH_MS = 50;
const MOST_TRIES = 3;
const SUBJECT = "renewed identity";

/**
 * Gives the guest an identity, over a stream of its own: see the protocol's renewal.ts.
 *
 * The clock is set to the host's at the moment the line is written. The guest takes what its own work costs into account and says how long that was, so what is
 * left of the round trip is how far its clock can be behind; a round trip on which the host or the guest stood still is repeated.
 *
 * @throws HOST_LIMIT when too many streams are open, AGENT_FAILED when the guest cannot, GUEST_PROTOCOL, TIMEOUT, AGENT_LOST, ABORTED.
 */
export function renew(link: Link, identity: GuestIdentity, call: Call): Promise<RenewedIdentity> {
  const { machineId, hostname } = identity;
  const entropy = Buffer.from(identity.entropy).toString("hex");
  const first = (clock: bigint) => encodeRenewal({ identity: { entropy, machineId, hostname }, clock });
  const reset = () => refused("ABORTED", "it has reset the stream");
  const wait = { what: "the guest to take a new identity", subject: SUBJECT, timeoutMs: DEADLINES.Renew, reset };
  return exchangeLines(link, wait, call, async (lines, signal) => {
    let clockErrorMs = await exchange(lines, first, signal);
    for (let tries = 1; clockErrorMs > GOOD_ENOUGH_MS && tries < MOST_TRIES; tries++) {
      clockErrorMs = await exchange(lines, encodeClock, signal);
    }
    lines.stream.end();
    lines.stream.resume();
    return { clockErrorMs };
  });
}

/** Sends a line with the time that it is, waits for its answer and tells the clock's largest error, ms. */
async function exchange({ stream, readLine }: LineStream, encode: (clock: bigint) => Buffer, signal: AbortSignal): Promise<number> {
  encode(0n); // whatever runs for the first time has run before the time is taken
  const sent = performance.now();
  stream.write(encode(unixNanoseconds()));
  const text = await readLine(signal);
  const roundTripMs = performance.now() - sent;
  const answer = parseRenewed(text);
  if (!answer) throw wrong(SUBJECT, guestText(text, 256), "ok with heldNs, or a status");
  if ("status" in answer) throw refused(answer.status, guestText(answer.text));
  const heldMs = answer.heldNs / 1e6;
  return heldMs > roundTripMs ? roundTripMs : roundTripMs - heldMs; // one that is longer than the round trip is worth nothing
}

/** Node tells whole milliseconds of the real clock. Its other one is finer, and counts when the real one has not been set since this process began. */
function unixNanoseconds(): bigint {
  const coarse = Date.now();
  const fine = performance.timeOrigin + performance.now();
  const ms = Math.abs(fine - coarse) < 2 ? fine : coarse;
  return BigInt(Math.round(ms * 1000)) * 1000n;
}

function refused(status: string, text: string): TapvisorError {
  return new TapvisorError("AGENT_FAILED", `Cannot give the guest a new identity: the agent answered ${status} (${text})`, {
    data: { method: "Renew", status },
  });
}
