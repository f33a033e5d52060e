import type { Empty, TtyWinResizeRequest } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import { StatusError } from "../status.ts";

const MAX_SIZE = 65_535;

/** Sets the size of a process's terminal. @throws FAILED_PRECONDITION when it has none. */
export async function ttyWinResize(agent: Agent, { container_id, exec_id, row, column }: TtyWinResizeRequest): Promise<Empty> {
  const process = findContainer(agent, container_id).process(exec_id || container_id);
  for (const size of [row, column]) {
    if (size < 1 || size > MAX_SIZE)
      throw new StatusError("INVALID_ARGUMENT", `Cannot have ${row} rows and ${column} columns: wanted 1 to ${MAX_SIZE}`);
  }
  process.resize({ rows: row, columns: column });
  return {};
}
