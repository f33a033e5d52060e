import { type GuestDetails, TapvisorError } from "tapvisor/plugin";
import type { GuestDetailsResponse, VersionCheckResponse } from "tapvisor/protocol";
import { guestText } from "./guest-text.ts";
import { MAX_NAME, MAX_NAMES } from "./limits.ts";

/** @throws GUEST_PROTOCOL unless the status is what a process can exit with. */
export function exitCode(status: number, subject: string): number {
  if (status >= 0 && status <= 255) return status;
  throw wrong(`exit status of ${subject}`, status, "0 to 255");
}

/** @throws GUEST_PROTOCOL when there are more bytes than were asked for. */
export function streamBytes(data: Uint8Array, asked: number, subject: string): Uint8Array {
  if (data.length <= asked) return data;
  throw wrong(`length of the output of ${subject}`, data.length, `at most ${asked}`);
}

/** @throws GUEST_PROTOCOL when more was taken than was sent; AGENT_FAILED (FAILED_PRECONDITION) when nothing was, for standard input is closed. */
export function bytesTaken(taken: number, sent: number, subject: string): number {
  if (taken > sent) throw wrong(`length of the input taken by ${subject}`, taken, `at most ${sent}`);
  if (taken > 0) return taken;
  throw new TapvisorError("AGENT_FAILED", `Cannot write to ${subject}: its standard input is closed`, {
    data: { method: "WriteStdin", status: "FAILED_PRECONDITION" },
  });
}

/** @throws GUEST_PROTOCOL when the block size is no exact number. */
export function guestDetails(answer: GuestDetailsResponse, version: VersionCheckResponse | undefined): GuestDetails {
  const memoryBlockBytes = Number(answer.mem_block_size_bytes);
  if (!Number.isSafeInteger(memoryBlockBytes)) throw wrong("memory block size of the guest", answer.mem_block_size_bytes, "at most 2^53");
  const details = answer.agent_details;
  return {
    memoryBlockBytes,
    agentVersion: guestText(details?.version || version?.agent_version || "", MAX_NAME),
    storageHandlers: (details?.storage_handlers ?? []).slice(0, MAX_NAMES).map((name) => guestText(name, MAX_NAME)),
    supportsSeccomp: details?.supports_seccomp ?? false,
  };
}

function wrong(what: string, found: number | string, wanted: string): TapvisorError<"GUEST_PROTOCOL"> {
  return new TapvisorError("GUEST_PROTOCOL", `Cannot take the ${what}: ${found}, wanted ${wanted}`, { data: { what } });
}
