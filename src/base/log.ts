import type { Logger as PinoLogger } from "pino";

/** The logger everything writes to: pino's own, with one child per sandbox and container. */
export type Logger = PinoLogger;
