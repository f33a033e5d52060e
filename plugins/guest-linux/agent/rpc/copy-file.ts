import type { CopyFileRequest, Empty } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { copyFile as copy } from "../system/copy-file.ts";
import type { RpcContext } from "../unary.ts";

/** Parts are written one after the other: two of one file must not be mixed. */
export async function copyFile(agent: Agent, request: CopyFileRequest, { signal }: RpcContext): Promise<Empty> {
  await agent.copyTurns.run(() => copy(agent, request), signal);
  return {};
}
