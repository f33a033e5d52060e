import type { Finding } from "./finding.ts";
import type { Call } from "./holding.ts";

/** Supplies what a VM boots: kernel, initrd or image, and what the agent inside is able to do. */
export interface Guest {
  inspectHost(call: Call): Promise<readonly Finding[]>;
  /**
   * The files to boot, built first when they are not there yet; `onProgress` gets a line for each long step.
   * @throws HOST_MISSING when something needed to build them is missing.
   */
  prepare(call: Call, onProgress?: (line: string) => void): Promise<BootAssets>;
}

/** Ready files for a direct kernel boot. Absolute paths. */
export interface BootAssets {
  readonly kernel: string;
  readonly initrd?: string;
  /** A root file system, attached as the first, read-only virtio-blk disk. */
  readonly image?: string;
  /** Kernel command line words of the guest; the hypervisor adds those for its machine. */
  readonly kernelParameters: readonly string[];
  /** Name of the virtio-serial port the agent listens on. Kata's is `agent.channel.0`. */
  readonly agentPort: string;
  /** The guest's kernel drives virtio-mem devices, by which memory can be taken back in small pieces; `false` when absent. */
  readonly virtioMem?: boolean;
  /** A VM of this guest can be saved and go on as another: its agent gives it an identity of its own then (`AgentClient.identity`). `false` when absent. */
  readonly cloneable?: boolean;
}
