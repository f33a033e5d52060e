import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { type Call, TapvisorError } from "tapvisor/plugin";
import type { Machine } from "./machine.ts";

/** Which CPUs of the host a vCPU's thread may run on. */
export interface Pinning {
  readonly thread: number;
  readonly cpus: readonly number[];
}

const TASKSET_MS = 5_000;

/** One CPU for each vCPU, in order, when there are as many as vCPUs; otherwise every vCPU may run on all of them. */
export function planPinning(threads: readonly number[], cpus: readonly number[]): Pinning[] {
  const enough = threads.length <= cpus.length;
  return threads.map((thread, index) => ({ thread, cpus: enough ? cpus.slice(index, index + 1) : cpus }));
}

/**
 * Pins the threads that run a VM's vCPUs. QEMU says which those are; each must be of its process.
 *
 * @throws VM_FAILED when the host refuses: the CPU is offline, or not this process's to use.
 */
export async function pinVcpus(machine: Machine, sandbox: string, cpus: readonly number[], { signal }: Call): Promise<readonly Pinning[]> {
  const vcpus = (await machine.execute("query-cpus-fast", {}, { signal })) as readonly { "cpu-index": number; "thread-id": number }[];
  const threads = vcpus.toSorted((a, b) => a["cpu-index"] - b["cpu-index"]).map((vcpu) => vcpu["thread-id"]);
  const plan = planPinning(threads, cpus);
  for (const { thread, cpus: list } of plan) {
    await promisify(execFile)("taskset", ["-pc", list.join(","), String(thread)], { signal, timeout: TASKSET_MS }).catch(
      (cause: unknown) => {
        throw new TapvisorError("VM_FAILED", `Cannot pin the vCPUs of sandbox "${sandbox}" to the host's CPUs ${list.join(", ")}`, {
          data: { id: sandbox },
          cause,
          hint: "choose CPUs that are online and that this process may use: `taskset -p $$` shows them",
        });
      },
    );
  }
  return plan;
}
