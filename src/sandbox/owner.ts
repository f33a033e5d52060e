import { currentBootId, identifyProcess, type ProcessIdentity } from "../base/process-identity.ts";

/** Who this process is. */
export async function thisProcess(): Promise<ProcessIdentity> {
  return (await identifyProcess(process.pid)) ?? { pid: process.pid, startTime: "", bootId: currentBootId() };
}
