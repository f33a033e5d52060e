import { readFile } from "node:fs/promises";
import { formatBytes, KiB, MiB, TapvisorError } from "tapvisor/plugin";

/** @throws HOST_LIMIT when the host could not back so much more memory for a VM. */
export async function checkHostMemory(sandbox: string, bytes: number): Promise<void> {
  const available = await availableMemory();
  if (bytes <= available) return;
  const found = `the host has ${formatBytes(Math.floor(available / MiB) * MiB)} available`;
  throw new TapvisorError(
    "HOST_LIMIT",
    `Cannot give ${formatBytes(bytes)} more memory to the VM of sandbox "${sandbox}": ${found}, wanted at least that much`,
    { data: { what: "memory", wanted: bytes, available }, hint: "ask for less, or end what else uses memory on this host" },
  );
}

/** What the kernel can hand out without swapping, bytes. */
async function availableMemory(): Promise<number> {
  const text = await readFile("/proc/meminfo", "utf8");
  return Number(/^MemAvailable:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * KiB;
}
