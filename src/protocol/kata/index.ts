/** The Kata agent's protocol, version 1.x: services, messages, and the OCI configuration on the wire. */
export { ERRNO_KEY, EXIT_CODE_KEY, OCI_EXTENSIONS, OWN_AGENT } from "./conventions.ts";
export { agentServiceDefinition, filesServiceDefinition, guestServiceDefinition, healthServiceDefinition } from "./definitions.ts";
export { descriptor } from "./descriptor.ts";
export type * from "./files-types.ts";
export * from "./network.ts";
export type * from "./network-types.ts";
export { ociFromWire, processFromWire, resourcesFromWire } from "./oci-from-wire.ts";
export { ociToWire, processToWire, resourcesToWire } from "./oci-to-wire.ts";
export type * from "./oci-types.ts";
export type * from "./stats-types.ts";
export type * from "./system-types.ts";
export type * from "./types.ts";
