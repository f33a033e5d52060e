/**
 * A hypervisor whose machine is a process of the host: the guest's kernel is a program, and the machine runs it. It isolates nothing. It is
 * here to show, in one file, what a hypervisor owes the engine: put your VMM's command line into `start`, its control socket into `viewOf`.
 */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { access, constants, cp, mkdir, readFile, rm, stat } from "node:fs/promises";
import type { Socket } from "node:net";
import { basename, join } from "node:path";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import {
  definePlugin,
  type Finding,
  findProcessesByMark,
  type HoldingKind,
  identifyProcess,
  isAlive,
  messageOf,
  type ProcessIdentity,
  type ShareGrant,
  type ShareIntent,
  signalProcess,
  TapvisorError,
  throwIfAborted,
  type Vm,
  type VmExit,
  type VmGrant,
  type VmIntent,
} from "tapvisor/plugin";

/** Between two looks at a process, ms: Linux tells of its end and of its pauses only to its parent, which may be an earlier script. */
const LOOK_EVERY_MS = 10;
/** The most that is kept of what a machine prints, characters: a guest may print without end. */
const KEPT = 4_096;

/** What only the process that started a machine knows of it. */
interface Machine {
  console: string;
  stderr: string;
  /** It ends since it was released: nobody need be told. */
  released: boolean;
}

/** Machines that are processes. Hypervisor `process`. */
export const hypervisorProcess = definePlugin("hypervisor-process", (ctx) => {
  ctx.provide("hypervisor", "process", () => {
    const machines = new Map<string, Machine>();
    return {
      capabilities: { pause: true, shareHotplug: true },
      inspectHost,
      async connect({ sandbox, nonce, process }) {
        if (process === null || !(await isAlive(process))) throw failed(sandbox, "it does not run");
        return viewOf(sandbox, process, machines.get(nonce) ?? newMachine());
      },
      holdings: { vm: vmHolding(machines), share: shareHolding },
    };
  });
});

export default hypervisorProcess;

async function inspectHost(): Promise<readonly Finding[]> {
  const check = "setpriv";
  try {
    const { stdout } = await promisify(execFile)("setpriv", ["--version"]);
    return [{ check, level: "ok", found: stdout.trim() }];
  } catch (error) {
    return [{ check, level: "missing", found: messageOf(error), fix: "apt-get install util-linux", packages: ["util-linux"] }];
  }
}

/** The VM itself: found again by the mark in its command line, whoever started it and whatever is known of it. */
function vmHolding(machines: Map<string, Machine>): HoldingKind<VmIntent, VmGrant> {
  return {
    async acquire(intent, { signal }) {
      const { sandbox, nonce, runDirectory, vcpus, boot } = intent;
      throwIfAborted(signal, `the start of the VM of sandbox "${sandbox}"`);
      if (!(Number.isInteger(vcpus) && vcpus > 0)) throw failed(sandbox, `it has ${vcpus} vCPUs, wanted at least one`);
      await access(boot.kernel, constants.X_OK).catch((error) => {
        throw failed(sandbox, messageOf(error));
      });
      const machine = newMachine();
      machines.set(nonce, machine);
      const agentSocket = join(runDirectory, "agent.sock");
      const process = await start(intent, agentSocket, machine);
      return { sandbox, nonce, runDirectory, process, accelerator: "none", agentEndpoint: { kind: "unix", path: agentSocket } };
    },

    async release({ intent: { sandbox, nonce } }, { signal }) {
      const machine = machines.get(nonce);
      machines.delete(nonce);
      for (const process of await findProcessesByMark(markOf(nonce))) {
        if (machine) machine.released = true;
        await signalProcess(process, "SIGKILL");
        await until(`the end of the VM of sandbox "${sandbox}"`, signal, async () => !(await isAlive(process)));
      }
    },
  };
}

/** In every command line of this VM, and in no other's: the nonce cannot be guessed. */
function markOf(nonce: string): string {
  return `tapvisor-vm=${nonce}`;
}

/** Runs the kernel, told what it has as a VMM would be. A detached machine outlives the script, and so does not write to it. */
async function start(intent: VmIntent, agentSocket: string, machine: Machine): Promise<ProcessIdentity> {
  const { sandbox, nonce, vcpus, memoryBytes, boot, detached } = intent;
  const machineWords = [markOf(nonce), `vcpus=${vcpus}`, `memory=${memoryBytes}`, `agent=${agentSocket}`];
  const dyingWithThisProcess = ["setpriv", "--pdeathsig", "KILL"];
  const [program = "", ...args] = [...(detached ? [] : dyingWithThisProcess), boot.kernel, ...machineWords, ...boot.kernelParameters];
  // A session of its own: Ctrl-C is for the script, which stops its machines in order. No secret of the script's environment goes along.
  const options = { detached: true, cwd: "/", env: { PATH: process.env.PATH } };
  const child = spawn(program, args, { ...options, stdio: detached ? "ignore" : ["ignore", "pipe", "pipe"] });
  child.unref(); // a script that is done need not wait for its machines
  keep(machine, "console", child.stdout);
  keep(machine, "stderr", child.stderr);
  const closed = once(child, "close"); // ended, and everything it said has arrived
  closed.catch(() => {});
  await once(child, "spawn").catch((error) => {
    throw failed(sandbox, messageOf(error));
  });
  const identity = child.pid === undefined ? undefined : await identifyProcess(child.pid);
  if (identity) return identity;
  await closed;
  throw failed(sandbox, `it ended at once and said: ${printable(machine.stderr || machine.console)}`);
}

/** Keeps the end of what a machine prints. */
function keep(machine: Machine, output: "console" | "stderr", pipe: Readable | null): void {
  pipe?.setEncoding("utf8").on("data", (text: string) => {
    machine[output] = (machine[output] + text).slice(-KEPT);
  });
  (pipe as Socket | null)?.unref();
}

/** A machine's live view, for this process or a later one. */
function viewOf(sandbox: string, process: ProcessIdentity, machine: Machine): Vm {
  let watch: NodeJS.Timeout | undefined;
  const exited = new Promise<VmExit>((resolve) => {
    const look = async () => {
      if (await isAlive(process)) return;
      clearInterval(watch);
      resolve({ exitCode: null, signal: null, expected: machine.released });
    };
    watch = setInterval(look, LOOK_EVERY_MS).unref();
  });
  const send = async (name: "SIGSTOP" | "SIGCONT", wanted: "paused" | "running", signal: AbortSignal) => {
    throwIfAborted(signal, `${name} to the VM of sandbox "${sandbox}"`);
    await signalProcess(process, name);
    await until(`the VM of sandbox "${sandbox}" to be ${wanted}`, signal, async () => {
      const status = await statusOf(process);
      if (status === "ended") throw failed(sandbox, "it has ended");
      return status === wanted;
    });
  };
  return {
    pause: ({ signal }) => send("SIGSTOP", "paused", signal),
    resume: ({ signal }) => send("SIGCONT", "running", signal),
    status: () => statusOf(process),
    exited,
    diagnostics: async () => ({ console: printable(machine.console), stderr: printable(machine.stderr) }),
    disconnect: async () => clearInterval(watch),
  };
}

async function statusOf(process: ProcessIdentity): Promise<"running" | "paused" | "ended"> {
  if (!(await isAlive(process))) return "ended";
  const text = await readFile(`/proc/${process.pid}/stat`, "utf8").catch(() => "");
  return text.slice(text.lastIndexOf(")")).startsWith(") T") ? "paused" : "running";
}

/**
 * Host directories for a running machine: copies, which is how read-only is enforced without a mount. So a writable entry is refused, and the
 * guest does not see what changes on the host afterwards.
 */
const shareHolding: HoldingKind<ShareIntent, ShareGrant> = {
  async acquire(intent, { signal }) {
    const { sandbox, vm, id, entries } = intent;
    throwIfAborted(signal, `the share "${id}"`);
    if (vm.process === null || !(await isAlive(vm.process))) throw failed(sandbox, "it does not run");
    for (const { name, source, type, readonly } of entries) {
      const found = await stat(source).catch(() => undefined);
      if (!readonly) throw refused(id, `"${name}" is writable, wanted read-only ones`);
      if (basename(name) !== name || name.startsWith(".")) throw refused(id, `"${name}" is no name of an entry`);
      if (!(type === "directory" ? found?.isDirectory() : found?.isFile())) throw refused(id, `${source} is no ${type}`);
    }
    const root = shareRoot(intent);
    await mkdir(root, { mode: 0o700 }).catch((error) => {
      throw refused(id, messageOf(error));
    });
    const goesOn = () => !signal.aborted;
    for (const { name, source } of entries) await cp(source, join(root, name), { recursive: true, verbatimSymlinks: true, filter: goesOn });
    throwIfAborted(signal, `the share "${id}"`);
    return { id, guest: { fstype: "none", source: root, driver: "local" }, process: null };
  },

  // The machine knows nothing of its shares: dead or alive, what there is to give back is the copy, whole or in part.
  release: async ({ intent }) => rm(shareRoot(intent), { recursive: true, force: true }),
};

/** The nonce keeps it apart from a share of the same id in a later VM of the sandbox. */
function shareRoot({ directory, vm }: ShareIntent): string {
  return `${directory}.${vm.nonce}`;
}

/** Looks again and again for what nothing announces. @throws ABORTED when the signal fires first. */
async function until(what: string, signal: AbortSignal, holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) {
    throwIfAborted(signal, what);
    await delay(LOOK_EVERY_MS);
  }
}

function newMachine(): Machine {
  return { console: "", stderr: "", released: false };
}

/** The guest's words in an error or on a terminal: what could steer one is shown, not sent. */
function printable(text: string): string {
  return text.replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, (each) => `\\x${each.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function failed(id: string, reason: string): TapvisorError {
  return new TapvisorError("VM_FAILED", `Cannot use the VM of sandbox "${id}": ${reason}`, { data: { id } });
}

function refused(id: string, reason: string): TapvisorError {
  return new TapvisorError("VM_COMMAND_FAILED", `Cannot plug share "${id}": ${reason}`, { data: { command: "share", class: "Refused" } });
}
