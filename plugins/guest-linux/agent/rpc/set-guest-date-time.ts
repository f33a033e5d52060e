import { setTimeout as delay } from "node:timers/promises";
import type { Empty, SetGuestDateTimeRequest } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { StatusError } from "../status.ts";
import type { RpcContext } from "../unary.ts";

/** The end of the year 9999, seconds. */
const MAX_SECONDS = 253_402_300_799;

/** Busybox sets whole seconds only, so it is called when the next one begins. */
export async function setGuestDateTime(agent: Agent, { Sec, Usec }: SetGuestDateTimeRequest, { signal }: RpcContext): Promise<Empty> {
  const [seconds, micros] = [Number(Sec), Number(Usec)];
  if (seconds < 0 || seconds > MAX_SECONDS) throw new StatusError("INVALID_ARGUMENT", `Cannot use Sec ${Sec}: wanted 0 to ${MAX_SECONDS}`);
  if (micros < 0 || micros > 999_999) throw new StatusError("INVALID_ARGUMENT", `Cannot use Usec ${Usec}: wanted 0 to 999999`);
  if (micros > 0) await delay((1_000_000 - micros) / 1000, undefined, { signal });
  await agent.busybox(["date", "-u", "-s", `@${micros > 0 ? seconds + 1 : seconds}`], signal);
  return {};
}
