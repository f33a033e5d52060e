export interface AgentLog {
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/**
 * Writes one line of JSON per event. Only warnings and errors exist: the console is an emulated UART, where every byte stops the whole guest.
 */
export function createLog(write: (line: string) => void): AgentLog {
  const line = (level: string, message: string, fields?: Readonly<Record<string, unknown>>) =>
    write(`${JSON.stringify({ level, source: "tapvisor-agent", message, ...fields })}\n`);
  return {
    warn: (message, fields) => line("warn", message, fields),
    error: (message, fields) => line("error", message, fields),
  };
}
