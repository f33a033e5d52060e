import type { OciProcess } from "tapvisor/plugin";
import type { Agent } from "../agent.ts";
import type { ProcessStreams } from "../runtime/crun.ts";
import { Terminal } from "../terminal/terminal.ts";
import { openPipes } from "./pipes.ts";

/** What a process reads and writes, ready before it is started. */
export async function openStreams({ fifos, paths }: Agent, { terminal }: Pick<OciProcess, "terminal">): Promise<ProcessStreams> {
  const pipes = await openPipes(fifos);
  try {
    return { pipes, terminal: terminal ? await Terminal.open(paths, pipes) : undefined };
  } catch (error) {
    pipes.discard();
    throw error;
  }
}
