import type { Hypervisor, Vm } from "tapvisor/plugin";
import type { HypervisorFixture } from "tapvisor/testing";
import { fakeHypervisorFixture } from "../support/fake-fixtures.ts";

export type MakeHypervisor = () => Promise<HypervisorFixture>;
export type Kind<K extends keyof Hypervisor["holdings"]> = NonNullable<Hypervisor["holdings"][K]>;

/** The fake hypervisor with something changed. */
export const amended =
  (amend: (h: Hypervisor) => Hypervisor): MakeHypervisor =>
  () =>
    fakeHypervisorFixture(amend);

/** With another holding of a kind. */
export const kind =
  <K extends keyof Hypervisor["holdings"]>(name: K) =>
  (amend: (honest: Kind<K>, h: Hypervisor) => Partial<Kind<K>>): MakeHypervisor =>
    amended((h) => {
      const honest = h.holdings[name];
      return honest ? { ...h, holdings: { ...h.holdings, [name]: { ...honest, ...amend(honest, h) } } } : h;
    });

/** With another live view; `amend` is asked for each. */
export const view = (amend: (vm: Vm) => Partial<Vm>): MakeHypervisor =>
  amended((h) => ({
    ...h,
    connect: async (...args) => {
      const vm = await h.connect(...args);
      return { ...vm, ...amend(vm) };
    },
  }));

/** A call that nobody gives up. */
export const unheard = { signal: new AbortController().signal };
