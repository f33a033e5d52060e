import { isAlive, TapvisorError, type VmGrant } from "tapvisor/plugin";
import { readDiagnostics } from "./diagnostics.ts";
import { Machine } from "./machine.ts";
import { vmPaths } from "./paths.ts";

interface Entry {
  readonly machine: Machine;
  users: number;
}

/** The VMs this process is connected to, by nonce. One table for all engines of the process: QEMU serves one connection at a time. */
const entries = new Map<string, Entry>();

/** A machine in use; disposing the last one of an adopted VM closes its connection. */
export interface MachineLease extends AsyncDisposable {
  readonly machine: Machine;
  /** Disposes, and also lets go of a VM that this process started. */
  letGo(): Promise<void>;
}

/** Keeps a VM that this process started until its QEMU has ended. */
export function registerMachine(machine: Machine): void {
  entries.set(machine.nonce, { machine, users: 0 });
  void machine.exited.then(() => forget(machine));
}

/** The machine of a running VM, adopted when another process started it. @throws VM_FAILED when it no longer runs. */
export async function leaseMachine(grant: VmGrant): Promise<MachineLease> {
  const identity = grant.process;
  if (!identity || !(await isAlive(identity))) throw await vmEnded(grant, "connect to");
  let entry = entries.get(grant.nonce);
  if (!entry) {
    registerMachine(new Machine(grant.nonce, identity, vmPaths(grant.runDirectory)));
    entry = entries.get(grant.nonce) as Entry;
  }
  return lease(entry);
}

/** The machine of a VM when this process is connected to it. */
export function knownMachine(nonce: string): Machine | undefined {
  return entries.get(nonce)?.machine;
}

function lease(entry: Entry): MachineLease {
  const { machine } = entry;
  let held = true;
  entry.users += 1;
  const dispose = async (own: boolean) => {
    if (!held) return;
    held = false;
    entry.users -= 1;
    if (entry.users > 0 || (machine.isOwn && !own)) return;
    if (!machine.isOwn) forget(machine);
    await machine.detach();
  };
  return { machine, letGo: () => dispose(true), [Symbol.asyncDispose]: () => dispose(false) };
}

function forget(machine: Machine): void {
  if (entries.get(machine.nonce)?.machine === machine) entries.delete(machine.nonce);
}

/** What to throw when a VM has ended on whoever wanted to `verb` it. */
export async function vmEnded(grant: VmGrant, verb: string, cause?: unknown): Promise<TapvisorError> {
  const { console, stderr } = await readDiagnostics(vmPaths(grant.runDirectory));
  return new TapvisorError("VM_FAILED", `Cannot ${verb} the VM of sandbox "${grant.sandbox}": its QEMU has ended, wanted a running one`, {
    data: { id: grant.sandbox, console, stderr },
    cause,
    hint: "delete the sandbox; what it still holds is then released",
  });
}
