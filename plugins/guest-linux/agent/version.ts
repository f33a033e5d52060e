/** The agent's version, that of the package it comes in. */
export const AGENT_VERSION = "0.1.0";

/** The version of the protocol's shape, as Kata agents report it. */
export const PROTOCOL_VERSION = "0.0.1";
