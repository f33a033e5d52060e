import type { Agent } from "../agent.ts";
import { ToolError } from "../runtime/tool-error.ts";
import { StatusError, type StatusName } from "../status.ts";

/** What the kernel's refusals are in this protocol; another one stays INTERNAL. */
const REFUSALS: readonly (readonly [RegExp, StatusName])[] = [
  [/Invalid argument|Numerical result out of range/, "INVALID_ARGUMENT"],
  [/File exists/, "ALREADY_EXISTS"],
  [/No such device|No such process|can't find device/, "NOT_FOUND"],
  [/unreachable|No route to host|Network is down|busy|Operation not supported|Cannot assign requested address/, "FAILED_PRECONDITION"],
];

/**
 * Runs busybox's `ip` or `arp`. A device's name always comes after the word `dev`, so that it is not taken for a word of theirs.
 * @throws StatusError when the kernel refuses.
 */
export async function netTool(agent: Agent, command: readonly string[], signal?: AbortSignal): Promise<string> {
  try {
    return await agent.busybox(command, signal);
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    const [, status] = REFUSALS.find(([text]) => text.test(error.stderr)) ?? [];
    if (status === undefined) throw error;
    throw new StatusError(status, `Cannot do ${JSON.stringify(command.join(" "))}: ${error.message}`, undefined, { cause: error });
  }
}
