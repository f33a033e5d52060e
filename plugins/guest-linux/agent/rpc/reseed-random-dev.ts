import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Empty, ReseedRandomDevRequest } from "tapvisor/protocol";
import type { Agent } from "../agent.ts";
import { StatusError } from "../status.ts";

const MAX_BYTES = 64 * 1024;

/**
 * Mixes the bytes into the kernel's pool. It takes them up when it seeds its generator anew, once a minute, and counts no entropy for them: to make it do
 * so at once takes an ioctl, which Node has not.
 */
export async function reseedRandomDev({ paths }: Agent, { data }: ReseedRandomDevRequest): Promise<Empty> {
  if (data.length === 0 || data.length > MAX_BYTES) {
    throw new StatusError("INVALID_ARGUMENT", `Cannot use data of ${data.length} bytes: wanted 1 to ${MAX_BYTES}`);
  }
  await writeFile(join(paths.dev, "urandom"), data, { flag: "r+" });
  return {};
}
