import type { Sandbox } from "tapvisor";
import type { VmGrant } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { leaseMachine } from "../../plugins/hypervisor-qemu/machines.ts";
import { KiB } from "../../src/base/units.ts";
import type { GuestShell } from "./guest-shell.ts";

/** What is compared: the sandbox, a shell in its guest, its VM, and what the guest said when it had booted. */
export interface Subject {
  readonly sandbox: Sandbox;
  readonly shell: GuestShell;
  readonly grant: VmGrant;
  /** `MemTotal` of the guest while the VM had what it booted with, bytes. */
  readonly bootMemory: number;
}

/** `MemTotal`, bytes. */
export async function memoryOf(shell: GuestShell): Promise<number> {
  const kib = /MemTotal:\s+(\d+) kB/.exec(await shell.ask("grep MemTotal /proc/meminfo"))?.[1];
  return Number(kib) * KiB;
}

/**
 * The ledger, QEMU (by query-*) and the guest (by nproc, /proc/meminfo and its disks) say the same. Memory that the guest has not given back in time
 * is in the ledger as granted; `settled` wants that there is none.
 */
export async function checkAgreement({ sandbox, shell, grant, bootMemory }: Subject, when: string, settled = true): Promise<void> {
  const { ledger, qemu, memory } = await readings({ sandbox, shell, grant });
  const { base, target, granted, parkedVcpus, confirmed } = ledger;
  assert.is(granted.vcpus, target.vcpus, `${when}: vCPUs granted`);
  if (settled) assert.is(granted.memoryBytes, target.memoryBytes, `${when}: memory granted`);
  assert.is(qemu.vcpus, granted.vcpus + parkedVcpus, `${when}: vCPUs that QEMU has plugged`);
  assert.is(qemu.memoryBytes, granted.memoryBytes, `${when}: memory that QEMU has`);
  assert.is(confirmed?.vcpus, granted.vcpus, `${when}: vCPUs that the guest confirms`);
  assert.is(Number(await shell.ask("nproc")), granted.vcpus, `${when}: nproc`);
  assert.is(memory - bootMemory, granted.memoryBytes - base.memoryBytes, `${when}: MemTotal beyond that of the boot`);
  const disks = (await shell.ask("ls /sys/block")).split("\n").filter((name) => /^(sd|vd[b-z])/.test(name));
  assert.is(disks.length, sandbox.devices().length, `${when}: disks in the guest: ${disks}`);
  assert.is(qemu.disks, sandbox.devices().length, `${when}: disks that QEMU has`);
}

/** What each says at one moment: a guest that still gives memory back is read again, until nothing has changed meanwhile. */
async function readings({ sandbox, shell, grant }: Omit<Subject, "bootMemory">) {
  let ledger = await sandbox.resources();
  for (let tries = 0; tries < 50; tries++) {
    const [qemu, memory, after] = [await askQemu(grant), await memoryOf(shell), await sandbox.resources()];
    if (after.granted.memoryBytes === ledger.granted.memoryBytes) return { ledger: after, qemu, memory };
    ledger = after;
  }
  throw new Error("the guest's memory never keeps still");
}

async function askQemu(grant: VmGrant): Promise<{ vcpus: number; memoryBytes: number; disks: number }> {
  await using lease = await leaseMachine(grant);
  const ask = (command: string) => lease.machine.execute(command, {}, {});
  const cpus = (await ask("query-hotpluggable-cpus")) as readonly { readonly "qom-path"?: string }[];
  const memory = (await ask("query-memory-size-summary")) as { readonly "base-memory": number; readonly "plugged-memory"?: number };
  const blocks = (await ask("query-block")) as readonly { readonly inserted?: { readonly ro: boolean }; readonly qdev?: string }[];
  return {
    vcpus: cpus.filter((cpu) => cpu["qom-path"] !== undefined).length,
    memoryBytes: memory["base-memory"] + (memory["plugged-memory"] ?? 0),
    disks: blocks.filter(({ qdev }) => qdev !== undefined && !qdev.includes("image-disk")).length,
  };
}

/** What a container's cgroup says of itself, seen from inside it; `max` without a limit. */
export async function ownLimits(shell: GuestShell): Promise<{ cpu: string; memory: string; pids: string }> {
  const [cpu = "", memory = "", pids = ""] = (await shell.ask("cd /sys/fs/cgroup && cat cpu.max memory.max pids.max")).split("\n");
  return { cpu, memory, pids };
}
