import { rm } from "node:fs/promises";
import { totalmem } from "node:os";
import {
  type Call,
  findProcessesByMark,
  formatBytes,
  type Held,
  type HoldingKind,
  isTapvisorError,
  type Json,
  TapvisorError,
  type VmGrant,
  type VmIntent,
} from "tapvisor/plugin";
import { acceleratorFor } from "./accelerator-for.ts";
import { commandLine } from "./command-line.ts";
import { requireProgram } from "./host-programs.ts";
import { beforeNamed } from "./listening.ts";
import { knownMachine } from "./machines.ts";
import { vmLogMark, vmMark } from "./marks.ts";
import type { QemuOptions } from "./options.ts";
import { type VmPaths, vmPaths } from "./paths.ts";
import { asOptions } from "./plugged.ts";
import { prepareStart } from "./prepare-start.ts";
import { endsWithin, killTree } from "./process.ts";
import { Qmp } from "./qmp.ts";
import { checkRunDirectory, closeToGroup } from "./run-directory.ts";
import { type MemoryDevice, vmDetails } from "./size-limits.ts";
import { startMachine } from "./start-machine.ts";
import { stopProcess } from "./stop-process.ts";
import { checkReachable, findUser, type NeededFile, type QemuUser } from "./user.ts";
import { askVersion, isTooOld, tooOld } from "./version.ts";

/** How long the log processes get to write the last lines after QEMU has ended, ms. */
const LOGS_END_MS = 1_000;

/** QEMU programs that turned out to have no virtio-mem: a build may leave it out, and asking each time would cost 50 ms. */
const withoutVirtioMem = new Set<string>();
const NO_VIRTIO_MEM = /'virtio-mem-pci' is not a valid device model name/;

/** A QEMU process with its sockets and logs. */
export function vmHolding(options: QemuOptions): HoldingKind<VmIntent, VmGrant> {
  return { acquire: (intent, call) => acquire(options, intent, call), release };
}

async function acquire(options: QemuOptions, intent: VmIntent, call: Call): Promise<VmGrant> {
  if (!intent.boot.virtioMem || withoutVirtioMem.has(options.binary)) return start(options, intent, "pc-dimm", call);
  try {
    return await start(options, intent, "virtio-mem", call);
  } catch (error) {
    if (!isTapvisorError(error) || !NO_VIRTIO_MEM.test(error.message)) throw error;
    withoutVirtioMem.add(options.binary);
    return start(options, intent, "pc-dimm", call);
  }
}

async function start(options: QemuOptions, intent: VmIntent, memoryDevice: MemoryDevice, call: Call): Promise<VmGrant> {
  const user = await findUser(options, call);
  if (user && intent.memory) throw notAsUser(user, intent.memory.kind);
  const accelerator = await acceleratorFor(options.accelerator, user, call);
  const shape = { accelerator: accelerator.name, machine: options.machine, memoryDevice, inheritsSockets: user !== undefined };
  const argv = commandLine(intent, shape);
  checkMemory(intent);
  await checkRunDirectory(intent.runDirectory);
  const binary = await requireProgram([options.binary], "qemu-system-x86");
  if (user) await checkReachable(user, filesOf(binary, intent), call);
  await using from = await prepareStart(intent, memoryDevice, call.signal);
  call.log.info({ accelerator: accelerator.name, why: accelerator.why }, "starting QEMU");
  try {
    const { machine, version } = await startMachine(
      intent,
      [binary, ...argv, ...asOptions(from.plugged.commands)],
      from,
      call.signal,
      user,
    );
    if (isTooOld(version)) throw tooOld(binary, version);
    call.log.debug({ pid: machine.identity.pid, version }, "QEMU runs");
    return {
      sandbox: intent.sandbox,
      nonce: intent.nonce,
      runDirectory: intent.runDirectory,
      process: machine.identity,
      accelerator: accelerator.name,
      agentEndpoint: { kind: "serial", path: machine.paths.agent },
      details: vmDetails(intent, memoryDevice, user) as unknown as Json,
    };
  } catch (error) {
    const version = isTapvisorError(error) && error.code === "VM_FAILED" ? await askVersion(binary, call) : undefined;
    const explained = version && isTooOld(version) ? tooOld(binary, version) : error;
    const fresh = { signal: new AbortController().signal, log: call.log }; // the caller's may have fired: it must not stop the undoing
    await release({ intent, grant: undefined }, fresh).catch((failed: unknown) =>
      call.log.error({ err: failed }, "QEMU's remains are left"),
    );
    throw explained;
  }
}

async function release({ intent, grant }: Held<VmIntent, VmGrant>, call: Call): Promise<void> {
  const paths = vmPaths(intent.runDirectory);
  const machine = knownMachine(intent.nonce);
  machine?.expectEnd();
  const known = grant?.process ?? machine?.identity;
  for (const identity of known ? [known] : await findProcessesByMark(vmMark(intent.nonce))) {
    await stopProcess(identity, (timeoutMs) => quit(paths, timeoutMs, machine?.execute.bind(machine)), call);
  }
  // They end by themselves with the last writer; their directory must not be removed under them.
  for (const log of await findProcessesByMark(vmLogMark(intent.nonce))) {
    if (!(await endsWithin(log, LOGS_END_MS))) await killTree(log);
  }
  if (intent.memory?.kind === "copy") await rm(intent.memory.copy, { force: true });
  // A late release of an earlier VM: the directory, named by the sandbox, is a later one's by now.
  if ((await findProcessesByMark(paths.qmp)).length > 0) return;
  const logs = [paths.console, paths.stderr].flatMap((file) => [file, `${file}.1`]);
  const unnamed = [paths.qmp, paths.agent].map(beforeNamed);
  for (const file of [paths.qmp, paths.agent, ...unnamed, paths.state, ...logs]) await rm(file, { force: true });
  await closeToGroup(intent.runDirectory);
}

async function quit(paths: VmPaths, timeoutMs: number, execute: Qmp["execute"] | undefined): Promise<void> {
  if (execute) {
    await execute("quit", {}, { timeoutMs });
    return;
  }
  const qmp = await Qmp.connect(paths.qmp);
  try {
    await qmp.execute("quit", {}, { timeoutMs });
  } finally {
    await qmp.close();
  }
}

function checkMemory({ sandbox, memoryBytes }: VmIntent): void {
  const available = totalmem();
  if (memoryBytes <= available) return;
  throw new TapvisorError(
    "HOST_LIMIT",
    `Cannot start the VM of sandbox "${sandbox}" with ${formatBytes(memoryBytes)} of memory: the host has ${formatBytes(available)}, wanted at most that`,
    { data: { what: "memory", wanted: memoryBytes, available }, hint: "ask for less memory" },
  );
}

/** What QEMU opens by its path when it starts. */
function filesOf(binary: string, { boot }: VmIntent): NeededFile[] {
  const read = (["kernel", "initrd", "image"] as const).flatMap((name) => {
    const path = boot[name];
    return path === undefined ? [] : [{ field: `boot.${name}`, path, access: "read" } as const];
  });
  return [{ field: "hypervisor-qemu.binary", path: binary, access: "execute" }, ...read];
}

/** QEMU opens a memory's file by its path, for writing even where it maps it copy-on-write; and a template is one file for all that go on from it. */
function notAsUser({ name }: QemuUser, kind: string): TapvisorError {
  const what = `memory of kind "${kind}" with the option hypervisor-qemu.user`;
  return new TapvisorError("UNSUPPORTED", `Cannot start a VM with memory of kind "${kind}" as user "${name}": saved VMs are root's own`, {
    data: { what, by: "hypervisor-qemu" },
    hint: "let it boot, or leave the option `user` out",
  });
}
