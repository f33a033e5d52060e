import { type GuestDetails, type GuestResources, isTapvisorError, TapvisorError } from "tapvisor/plugin";
import {
  type FindDiskResponse,
  type GuestDetailsResponse,
  OCI_EXTENSIONS,
  type SyncResourcesResponse,
  type VersionCheckResponse,
} from "tapvisor/protocol";
import { guestText } from "./guest-text.ts";
import { MAX_NAME, MAX_NAMES, MAX_TOLD } from "./limits.ts";

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
  const memoryBlockBytes = exact(answer.mem_block_size_bytes, "memory block size of the guest");
  const details = answer.agent_details;
  return {
    memoryBlockBytes,
    agentVersion: guestText(details?.version || version?.agent_version || "", MAX_NAME),
    storageHandlers: (details?.storage_handlers ?? []).slice(0, MAX_NAMES).map((name) => guestText(name, MAX_NAME)),
    supportsSeccomp: details?.supports_seccomp ?? false,
    ociExtensions: (details?.extra_features ?? []).includes(OCI_EXTENSIONS),
  };
}

/** @throws GUEST_PROTOCOL when the guest has no vCPU or no memory. */
export function guestResources({ online_vcpus, memory_bytes, available_bytes }: SyncResourcesResponse): GuestResources {
  const memoryBytes = exact(memory_bytes, "memory of the guest");
  const availableBytes = exact(available_bytes, "available memory of the guest");
  if (online_vcpus === 0) throw wrong("number of vCPUs of the guest", online_vcpus, "1 or more");
  if (memoryBytes === 0) throw wrong("memory of the guest", memoryBytes, "1 or more");
  if (availableBytes > memoryBytes) throw wrong("available memory of the guest", availableBytes, `at most ${memoryBytes}`);
  return { onlineVcpus: online_vcpus, memoryBytes, availableBytes };
}

/** @throws GUEST_PROTOCOL unless the node is one in /dev: it may become a path, so it holds nothing else. */
export function foundDisk({ node, bytes }: FindDiskResponse, subject: string): { readonly node: string; readonly bytes: number } {
  if (!/^\/dev\/[A-Za-z0-9_-]{1,64}$/.test(node)) throw wrong(`node of ${subject}`, guestText(node, MAX_NAME), "one in /dev");
  return { node, bytes: exact(bytes, `size of ${subject}`) };
}

/** What the guest tells, checked as what is asked of it is. @throws GUEST_PROTOCOL in place of INVALID_INPUT. */
export function told<Value>(what: string, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    if (!isTapvisorError(error) || error.code !== "INVALID_INPUT") throw error;
    throw new TapvisorError("GUEST_PROTOCOL", `Cannot take the ${what}: ${guestText(error.message, MAX_TOLD)}`, { data: { what } });
  }
}

/** @throws GUEST_PROTOCOL for a number that JavaScript does not hold exactly. */
export function exact(value: string, what: string): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw wrong(what, value, "at most 2^53");
}

export function wrong(what: string, found: number | string, wanted: string): TapvisorError<"GUEST_PROTOCOL"> {
  return new TapvisorError("GUEST_PROTOCOL", `Cannot take the ${what}: ${found}, wanted ${wanted}`, { data: { what } });
}
