import type { Call } from "./holding.ts";

/** What makes a VM that goes on from a saved one a machine of its own. */
export interface AgentIdentity {
  /**
   * Runs a container made of the guest's own files through all that a first container needs (create, start, exec, streams, wait, remove), so that the code for it
   * is compiled and in memory when the VM is saved. Leaves nothing in the guest. At most as long as `call.signal` lets it.
   */
  warmUp(call: Call): Promise<void>;
  /** The last call before the VM is saved: has the guest get ready to take on a new identity, at once, when it goes on. */
  prepareToBeSaved(call: Call): Promise<void>;
  /**
   * The first call after a VM went on from a saved one: nothing of a user's runs before it has been answered. Resolves when the guest's random numbers, its
   * clock and its names are its own.
   */
  renew(identity: GuestIdentity, call: Call): Promise<RenewedIdentity>;
}

export interface GuestIdentity {
  /** 64 bytes from the host's random numbers: mixed into the guest's, which are seeded anew before the answer. */
  readonly entropy: Uint8Array;
  /** 32 lower-case hexadecimal digits, what `/etc/machine-id` says from then on. */
  readonly machineId: string;
  readonly hostname: string;
}

export interface RenewedIdentity {
  /** How far the guest's clock can be from the host's, ms, as measured by the round trip that set it; below 100 unless the host is overloaded. */
  readonly clockErrorMs: number;
}
