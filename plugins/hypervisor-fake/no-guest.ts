import type { Guest } from "tapvisor/plugin";
import type { FakeWorld } from "tapvisor/testing";

/** A guest for a hypervisor that boots nothing: the files it names are empty. */
export function noGuest(world: FakeWorld, cloneable: boolean): Guest {
  return {
    inspectHost: (call) =>
      world.perform("guest.inspectHost", {}, call.signal, () => [{ check: "guest", level: "ok", found: "none is needed" }]),
    prepare: (call) =>
      world.perform("guest.prepare", {}, call.signal, () => ({
        kernel: "/dev/null",
        kernelParameters: [],
        agentPort: "none",
        ...(cloneable && { cloneable }),
      })),
  };
}
