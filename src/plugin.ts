/** All that a plugin author imports. */
export * from "./base/deadline.ts";
export * from "./base/device-numbers.ts";
export * from "./base/errors.ts";
export * from "./base/file-lock.ts";
export * from "./base/ids.ts";
export type { Logger } from "./base/log.ts";
export * from "./base/mutex.ts";
export * from "./base/process-identity.ts";
export * from "./base/units.ts";
/** Checks a plugin's options against a zod schema; a bad field is named. */
export { validate } from "./config/validate.ts";
export type * from "./contracts/agent.ts";
export type * from "./contracts/agent-streams.ts";
export type * from "./contracts/finding.ts";
export type * from "./contracts/guest.ts";
export type * from "./contracts/holding.ts";
export type * from "./contracts/hypervisor.ts";
export type * from "./contracts/oci.ts";
export type * from "./contracts/rootfs.ts";
export type * from "./contracts/slots.ts";
export type * from "./contracts/state-store.ts";
export type * from "./contracts/stats.ts";
export type * from "./contracts/transport.ts";
export * from "./engine/define-plugin.ts";
export type * from "./engine/hook-events.ts";
export type { HookName } from "./engine/hooks.ts";
