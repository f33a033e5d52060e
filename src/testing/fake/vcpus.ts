import type { VmSize } from "../../contracts/hypervisor.ts";
import { agentError } from "./agent-error.ts";

/** Which of a VM's vCPUs the guest runs on: a new one is offline until the agent brings it online. */
export class FakeVcpus {
  readonly #size: VmSize;
  #online: number;

  constructor(size: VmSize) {
    this.#size = size;
    this.#online = size.vcpus;
  }

  /** One that has been unplugged is not online any longer. */
  get online(): number {
    this.#online = Math.min(this.#online, this.#size.vcpus);
    return this.#online;
  }

  /** As many as ran when the VM was saved. */
  restore(online: number): void {
    this.#online = online;
  }

  /** At most so many more. */
  bringOnline(count: number): void {
    this.#online = Math.min(this.online + count, this.#size.vcpus);
  }

  /** Exactly so many; the others are parked. @throws AGENT_FAILED. */
  runOn(count: number): void {
    const refuse = (status: string, reason: string) => agentError("SyncResources", status, reason);
    if (!Number.isSafeInteger(count) || count < 1) throw refuse("INVALID_ARGUMENT", `${count} vCPUs`);
    if (count > this.#size.vcpus) throw refuse("FAILED_PRECONDITION", `${this.#size.vcpus} vCPUs are plugged in, wanted ${count}`);
    this.#online = count;
  }
}
