import { type Call, isAlive, TapvisorError, type Vm, type VmGrant } from "tapvisor/plugin";
import { readDiagnostics } from "./diagnostics.ts";
import { leaseMachine, vmEnded } from "./machines.ts";
import { pinVcpus } from "./pin-vcpus.ts";
import { userOf } from "./size-limits.ts";
import { vmSizing } from "./sizing.ts";
import { snapshotVm } from "./snapshot.ts";
import { saveTemplate } from "./template.ts";
import type { QemuUser } from "./user.ts";

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
  const living = async (save: () => Promise<void>): Promise<void> => {
    const user = userOf(grant);
    if (user) throw notSavedAsUser(grant, user); // an engine without the option `user` may ask for it
    try {
      await save();
    } catch (error) {
      throw (await machine.endedAfter(error)) ? await vmEnded(grant, "save", error) : error;
    }
  };
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
    save: (state, { signal }) => living(() => saveTemplate(machine, grant, state, signal)),
    snapshot: (state, { signal }) => living(() => snapshotVm(machine, grant, state, signal)),
    pinVcpus: (cpus, call) => pinVcpus(machine, grant.sandbox, cpus, call),
    disconnect: () => lease.letGo(),
  };
}

/** QEMU would write to a socket that only root may connect to. */
function notSavedAsUser({ sandbox }: VmGrant, { name }: QemuUser): TapvisorError {
  return new TapvisorError("UNSUPPORTED", `Cannot save the VM of sandbox "${sandbox}": its QEMU runs as user "${name}"`, {
    data: { what: "saving a VM that was started with the option hypervisor-qemu.user", by: "hypervisor-qemu" },
    hint: "start it without the option `user`",
  });
}
