import { readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { StatusError } from "../status.ts";

/** How long a vCPU that was plugged in may take to be there, ms. */
const APPEAR_MS = 5000;
/** How long OnlineCPUMem waits for more of them than there are, ms: it takes what there is. */
const MORE_MS = 1000;
/** Nothing announces one but a netlink socket, which Node has not; one look is one `getdents`. */
const LOOK_EVERY_MS = 10;

interface Vcpu {
  readonly index: number;
  readonly online: boolean;
}

/**
 * The vCPUs that the guest has, the lowest first. The first one has no switch: it cannot be parked. Of the others the kernel shows the directory
 * before the switch, and such a one is not there yet.
 */
export function vcpusOf(sys: string): readonly Vcpu[] {
  return readdirSync(directory(sys))
    .flatMap((name) => /^cpu(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b)
    .flatMap((index) => {
      const online = index === 0 || isOnline(sys, index);
      return online === undefined ? [] : { index, online };
    });
}

/**
 * Runs on exactly `count` vCPUs, those of the lowest numbers: brings them online, then parks the others, the highest first.
 * @throws FAILED_PRECONDITION, with nothing changed, when there are not so many within 5 s.
 */
export async function runOn(sys: string, count: number, signal: AbortSignal): Promise<void> {
  const there = await waitFor(sys, APPEAR_MS, signal, (vcpus) => vcpus.length >= count);
  if (there.length < count) {
    throw new StatusError("FAILED_PRECONDITION", `Cannot run on ${count} vCPUs: the guest has ${there.length}`);
  }
  for (const { index, online } of there.slice(0, count)) if (!online) await setOnline(sys, index, true, signal);
  for (const { index, online } of there.slice(count).reverse()) if (online) await setOnline(sys, index, false, signal);
}

/** Brings at most `most` more vCPUs online, the lowest first; waits a second for so many to be there. */
export async function bringOnline(sys: string, most: number, signal: AbortSignal): Promise<void> {
  const offline = (vcpus: readonly Vcpu[]) => vcpus.filter(({ online }) => !online);
  const there = await waitFor(sys, MORE_MS, signal, (vcpus) => offline(vcpus).length >= most);
  for (const { index } of offline(there).slice(0, most)) await setOnline(sys, index, true, signal);
}

/** The vCPUs as soon as they are as wanted, or as they are at the end of the time. */
async function waitFor(sys: string, timeoutMs: number, signal: AbortSignal, wanted: (vcpus: readonly Vcpu[]) => boolean) {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const vcpus = vcpusOf(sys);
    if (wanted(vcpus) || performance.now() > end) return vcpus;
    await delay(LOOK_EVERY_MS, undefined, { signal });
  }
}

/** Takes the kernel some 50 to 500 ms under emulation. */
async function setOnline(sys: string, index: number, online: boolean, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await writeFile(join(directory(sys), `cpu${index}`, "online"), online ? "1" : "0");
}

function isOnline(sys: string, index: number): boolean | undefined {
  try {
    return readFileSync(join(directory(sys), `cpu${index}`, "online"), "latin1").trim() !== "0";
  } catch {
    return undefined;
  }
}

function directory(sys: string): string {
  return join(sys, "devices/system/cpu");
}
