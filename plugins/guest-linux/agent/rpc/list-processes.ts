import type { ListProcessesRequest, ListProcessesResponse } from "tapvisor/protocol";
import { type Agent, findContainer } from "../agent.ts";
import { pidsOfCgroup } from "../container/cgroup.ts";
import { StatusError } from "../status.ts";
import type { RpcContext } from "../unary.ts";

/** The processes of a container as the guest counts them: the pids as JSON, or the lines of ps that are theirs, below its header. */
export async function listProcesses(
  agent: Agent,
  { container_id, format, args }: ListProcessesRequest,
  { signal }: RpcContext,
): Promise<ListProcessesResponse> {
  const { cgroup } = findContainer(agent, container_id).files;
  if (format === "json") return { process_list: Buffer.from(JSON.stringify(await pidsOfCgroup(cgroup))) };
  if (format !== "table")
    throw new StatusError("INVALID_ARGUMENT", `Cannot use the format ${JSON.stringify(format)}: wanted json or table`);
  const pids = new Set(await pidsOfCgroup(cgroup));
  const table = await agent.busybox(["ps", ...(args.length > 0 ? args : ["-ef"])], signal);
  const [header = "", ...lines] = table.split("\n");
  const column = header.trim().split(/ +/).indexOf("PID");
  if (column < 0) throw new StatusError("INVALID_ARGUMENT", "Cannot use the arguments: what ps prints with them has no column PID");
  const own = lines.filter((line) => pids.has(Number(line.trim().split(/ +/)[column])));
  return { process_list: Buffer.from([header, ...own, ""].join("\n")) };
}
