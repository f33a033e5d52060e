import { type AgentClient, TapvisorError } from "tapvisor/plugin";
import { guestServiceDefinition, processToWire, agentServiceDefinition as rpc } from "tapvisor/protocol";
import type { Ask } from "./guest-calls.ts";
import { idOf, nameOf } from "./process-id.ts";
import { describedProcesses, PS_ARGUMENTS, tableOfProcesses } from "./process-list.ts";
import type { Send } from "./sender.ts";
import type { Terminals } from "./terminals.ts";

/** The largest number of rows or columns that the kernel keeps. */
const MAX_SIZE = 65_535;

/** The calls about processes other than the container's own, and about terminals. */
export function processCalls(send: Send, ask: Ask, terminals: Terminals): Pick<AgentClient, "execProcess" | "resizeTty" | "listProcesses"> {
  return {
    execProcess: async (process, spec, call) => {
      const request = { ...idOf(process), process: processToWire(spec) };
      await send("ExecProcess", rpc.ExecProcess, request, call, { subject: nameOf(process), command: spec.args[0] ?? "" });
      if (spec.terminal) terminals.add(process);
    },
    resizeTty: async (process, { rows, columns }, call) => {
      const subject = nameOf(process);
      for (const size of [rows, columns])
        if (!(Number.isInteger(size) && size >= 1 && size <= MAX_SIZE)) throw noSize(subject, rows, columns);
      await send("TtyWinResize", rpc.TtyWinResize, { ...idOf(process), row: rows, column: columns }, call, { subject });
    },
    listProcesses: async (container, call) => {
      const subject = `container "${container}"`;
      const described = await ask("DescribeProcesses", guestServiceDefinition.DescribeProcesses, { container_id: container }, call, {
        subject,
      });
      if (described) return describedProcesses(described, subject);
      const request = { container_id: container, format: "table", args: PS_ARGUMENTS };
      return tableOfProcesses(await send("ListProcesses", rpc.ListProcesses, request, call, { subject }), subject);
    },
  };
}

function noSize(subject: string, rows: number, columns: number): TapvisorError {
  return new TapvisorError(
    "AGENT_FAILED",
    `Cannot resize the terminal of ${subject} to ${rows} rows and ${columns} columns: wanted 1 to ${MAX_SIZE}`,
    {
      data: { method: "TtyWinResize", status: "INVALID_ARGUMENT" },
    },
  );
}
