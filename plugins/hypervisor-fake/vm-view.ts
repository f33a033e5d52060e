import { TapvisorError, type Vm, type VmGrant } from "tapvisor/plugin";
import type { FakeVm, FakeWorld } from "tapvisor/testing";
import type { Traits } from "./options.ts";
import { saving } from "./saving.ts";
import { sizing } from "./sizing.ts";

/** The most that diagnostics hold of each text, characters before they are escaped. */
const MAX_TEXT = 4_096;

/** The VM of a grant. @throws VM_FAILED when it does not run. */
export function liveVm(world: FakeWorld, { sandbox, nonce }: VmGrant): FakeVm {
  const vm = world.vm(sandbox);
  if (vm?.intent.nonce === nonce && vm.state !== "ended") return vm;
  throw new TapvisorError("VM_FAILED", `Cannot use the VM of sandbox "${sandbox}": it does not run`, { data: { id: sandbox } });
}

/** The live view of one VM. */
export function vmView(world: FakeWorld, vm: FakeVm, traits: Traits): Vm {
  const subject = { sandbox: vm.intent.sandbox };
  const view = {};
  vm.views.add(view);
  const mustBeConnected = () => {
    if (vm.views.has(view)) return;
    throw new TapvisorError("VM_FAILED", `Cannot use the VM of sandbox "${subject.sandbox}": the connection is closed`, {
      data: { id: subject.sandbox },
    });
  };
  const canPause = () => {
    mustBeConnected();
    if (traits.pause) return;
    throw new TapvisorError("UNSUPPORTED", `Cannot pause the VM of sandbox "${subject.sandbox}": this fake was made without`, {
      data: { what: "pause", by: "hypervisor-fake" },
    });
  };
  return {
    pause: (call) =>
      world.perform("hypervisor.pause", subject, call.signal, () => {
        canPause();
        vm.pause();
      }),
    resume: (call) =>
      world.perform("hypervisor.resume", subject, call.signal, () => {
        canPause();
        vm.resume();
      }),
    status: (call) => world.perform("hypervisor.status", subject, call.signal, () => vm.state),
    exited: vm.exited,
    diagnostics: async () => ({ console: lastWords(vm.console), stderr: lastWords(vm.stderr) }),
    ...(traits.resize ? { sizing: sizing(world, vm, traits, mustBeConnected) } : {}),
    ...saving(world, vm, traits, mustBeConnected),
    disconnect: async () => void vm.views.delete(view),
  };
}

/** As much as a real one keeps, and as safe to print: what steers a terminal is shown, not sent. */
function lastWords(text: string): string {
  return text.slice(-MAX_TEXT).replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, (each) => `\\x${each.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
