import { randomBytes } from "node:crypto";
import { isAlive, ownIdentity } from "tapvisor/plugin";

const NAME = /^\.tmp-(\d+)-(\d+)-([0-9a-f-]{36})-[0-9a-f]{16}$/;

/** A name for a file that is not a record yet. It says whose it is, so that one left by a dead process can be told from one in use. */
export async function temporaryName(): Promise<string> {
  const { pid, startTime, bootId } = await ownIdentity();
  return `.tmp-${pid}-${startTime}-${bootId}-${randomBytes(8).toString("hex")}`;
}

/** Whether a name is that of a temporary file whose process is gone. */
export async function isStaleTemporary(name: string): Promise<boolean> {
  const [, pid, startTime, bootId] = NAME.exec(name) ?? [];
  if (pid === undefined || startTime === undefined || bootId === undefined) return false;
  return !(await isAlive({ pid: Number(pid), startTime, bootId }));
}
