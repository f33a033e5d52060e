import type { Agent } from "./agent.ts";
import type { Guest } from "./guest.ts";
import type { Hypervisor } from "./hypervisor.ts";
import type { RootfsStorage } from "./rootfs.ts";
import type { StateStore } from "./state-store.ts";
import type { Transport } from "./transport.ts";

/** The places a plugin can fill. A sandbox uses one provider of each, chosen by name; the transport only when the agent needs one. */
export interface Slots {
  hypervisor: Hypervisor;
  guest: Guest;
  transport: Transport;
  agent: Agent;
  stateStore: StateStore;
  rootfs: RootfsStorage;
}

export type SlotName = keyof Slots;

export const SLOT_NAMES = ["hypervisor", "guest", "transport", "agent", "stateStore", "rootfs"] as const satisfies readonly SlotName[];
