import type { VmMemory } from "tapvisor/plugin";

/** The file that QEMU maps as the guest's memory, and whether what the guest writes goes into it; `undefined` for memory of the VM's own. */
export function mappedFile(memory: VmMemory | undefined): { readonly path: string; readonly share: boolean } | undefined {
  switch (memory?.kind) {
    case "template":
      return { path: memory.file, share: true };
    case "clone":
      return { path: memory.file, share: false };
    case "copy":
      return { path: memory.copy, share: true };
    default:
      return undefined;
  }
}

/** The file of the state that a VM goes on from; `undefined` for one that boots. */
export function savedState(memory: VmMemory | undefined): string | undefined {
  return memory && memory.kind !== "template" ? memory.state : undefined;
}

/** The template's file that has to be there, whole, before QEMU is started. */
export function templateFile(memory: VmMemory | undefined): string | undefined {
  return memory && memory.kind !== "snapshot" ? memory.file : undefined;
}
