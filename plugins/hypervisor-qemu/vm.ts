import { type Call, isAlive, TapvisorError, type Vm, type VmGrant } from "tapvisor/plugin";
import { readDiagnostics } from "./diagnostics.ts";
import { leaseMachine, vmEnded } from "./machines.ts";
import { pinVcpus } from "./pin-vcpus.ts";
import type { VmDetails } from "./size-limits.ts";
import { vmSizing } from "./sizing.ts";
import { saveState } from "./template.ts";

/** QEMU's run states in which the guest's processors will not run again. */
const ENDED = new Set(["shutdown", "guest-panicked", "internal-error"]);

/**
 * The live view of a VM, in the process that started it or a later one.
 *
 * Commands have 10 s each. While another process is connected to the VM, they end with TIMEOUT: QEMU serves one at a time. `exited` and
 * `diagnostics` work all the same.
 *
 * @throws VM_FAILED when the VM no longer runs.
 */
export async function connectVm(grant: VmGrant): Promise<Vm> {
  const lease = await leaseMachine(grant);
  const { machine } = lease;
  const sizing = vmSizing(machine, grant);
  return {
    async pause({ signal }: Call) {
      await machine.execute("stop", {}, { signal });
    },
    async resume({ signal }: Call) {
      await machine.execute("cont", {}, { signal });
    },
    async status({ signal }: Call) {
      if (!(await isAlive(machine.identity))) return "ended";
      try {
        const { status } = (await machine.execute("query-status", {}, { signal })) as { readonly status: string };
        return status === "running" ? "running" : ENDED.has(status) ? "ended" : "paused";
      } catch (error) {
        if (await machine.endedAfter(error)) return "ended";
        throw error;
      }
    },
    exited: machine.exited,
    diagnostics: () => readDiagnostics(machine.paths),
    ...(sizing && { sizing }),
    async save(state, { signal }) {
      if ((grant.details as VmDetails | undefined)?.memory !== "template") throw noTemplate(grant);
      try {
        await saveState(machine, state, signal);
      } catch (error) {
        throw (await machine.endedAfter(error)) ? await vmEnded(grant, "save", error) : error;
      }
    },
    pinVcpus: (cpus, call) => pinVcpus(machine, grant.sandbox, cpus, call),
    disconnect: () => lease.letGo(),
  };
}

function noTemplate({ sandbox }: VmGrant): TapvisorError {
  return new TapvisorError("INVALID_STATE", `Cannot save the VM of sandbox "${sandbox}": its memory is in no template's file`, {
    data: { kind: "sandbox", id: sandbox, state: "running", verb: "save", allowed: [] },
    hint: "start it with memory of the kind `template`",
  });
}
