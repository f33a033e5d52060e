/** The wire formats between host and guest, for authors of transports, agents and guests. */
export * from "./protocol/data-stream/index.ts";
export * from "./protocol/kata/index.ts";
export * from "./protocol/yamux/index.ts";
