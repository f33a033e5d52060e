/** The Kata agent's protocol, version 1.x: services, messages, and the OCI configuration on the wire. */
export { EXIT_CODE_KEY } from "./conventions.ts";
export { agentServiceDefinition, healthServiceDefinition } from "./definitions.ts";
export { descriptor } from "./descriptor.ts";
export { ociFromWire } from "./oci-from-wire.ts";
export { ociToWire } from "./oci-to-wire.ts";
export type * from "./oci-types.ts";
export type * from "./types.ts";
