/** The Kata agent's protocol, version 1.x: services, messages, and the OCI configuration on the wire. */
export { EXIT_CODE_KEY, OCI_EXTENSIONS } from "./conventions.ts";
export { agentServiceDefinition, guestServiceDefinition, healthServiceDefinition } from "./definitions.ts";
export { descriptor } from "./descriptor.ts";
export { ociFromWire, processFromWire, resourcesFromWire } from "./oci-from-wire.ts";
export { ociToWire, processToWire, resourcesToWire } from "./oci-to-wire.ts";
export type * from "./oci-types.ts";
export type * from "./stats-types.ts";
export type * from "./types.ts";
