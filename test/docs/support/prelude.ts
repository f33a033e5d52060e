/**
 * What a fragment of the documentation takes for granted: the package's own names, and a few that the text around it explains. A block that
 * begins with an import gets none of this: it must be whole.
 */
import type { Container, Engine, Plugin, Sandbox } from "tapvisor";
import type { Guest, Hypervisor } from "tapvisor/plugin";
import type { TestRegistrar } from "tapvisor/testing";

export { strict as assert } from "node:assert";
export { readdir } from "node:fs/promises";
export { test } from "node:test";
export * from "tapvisor";
export * from "tapvisor/plugin";
export { presetFake } from "tapvisor/plugins/preset-fake";
export { stateFs } from "tapvisor/plugins/state-fs";
export * from "tapvisor/testing";

/** Only its type is ever looked at. */
function assumed<T>(): T {
  return undefined as T;
}

export const engine = assumed<Engine>();
export const sandbox = assumed<Sandbox>();
export const web = assumed<Container>();
export const root = "/root-of-the-engine";
export const rootfs = "./rootfs";

/** What a plugin's author has. */
export const myPlugin = assumed<() => Plugin>();
export const myVolumes = assumed<() => Promise<readonly string[]>>();
export const makeMyHypervisor = assumed<() => Promise<Hypervisor>>();
export const guest = assumed<Guest>();

/** A test's own: a fixture of whichever suite. */
export const suite = assumed<TestRegistrar>();
export const makeFixture = assumed<() => Promise<never>>();
export const makeMyStore = assumed<() => Promise<never>>();
export const connectTo = assumed<(vm: unknown) => Promise<never>>();
export const oneVm = assumed<unknown>();
