import type { Duplex } from "node:stream";
import type { Call } from "./holding.ts";
import type { AgentEndpoint } from "./hypervisor.ts";

/** Carries byte streams between the host and the guest's agent. */
export interface Transport {
  /** The endpoint kinds it can connect to. */
  readonly endpoints: readonly AgentEndpoint["kind"][];
  /**
   * Connects, and resolves only when the guest's side really answers: waits for a guest that still boots until `call.signal` fires.
   * @throws AGENT_LOST when the other end closes for good.
   */
  connect(endpoint: AgentEndpoint, call: Call): Promise<TransportConnection>;
}

export interface TransportConnection {
  /**
   * Opens one stream; each is a plain two-way byte pipe with back-pressure. `windowBytes` is how much may be on its way to a reader that has paused,
   * where the transport can choose that.
   */
  openStream(options?: { readonly windowBytes?: number }): Promise<Duplex>;
  /** Settles with the reason when the connection ends, whoever ended it: never rejects. */
  readonly closed: Promise<Error | undefined>;
  close(): Promise<void>;
}
