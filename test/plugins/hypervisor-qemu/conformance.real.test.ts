import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, readlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { findProcessesByMark, isAlive, signalProcess, type VmIntent } from "tapvisor/plugin";
import { type GuestBehaviour, HOSTILE_TEXT, type HypervisorFixture, hypervisorSuite } from "tapvisor/testing";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { fromTemplates } from "./support/from-templates.ts";
import { floodingKernel, haltingKernel, unpluggingKernel } from "./support/real-mode-kernel.ts";
import { qemu, until } from "./support/world.ts";

const s = suite("hypervisor-qemu conformance");

const KERNELS: Readonly<Record<GuestBehaviour, () => Uint8Array>> = {
  quiet: unpluggingKernel,
  hostile: () => haltingKernel(HOSTILE_TEXT),
  flood: floodingKernel,
};

/** Real QEMU with guests of a few bytes: they need no boot. The quiet ones go on from a template where that is asked for. */
async function fixture({ saved }: { readonly saved: boolean }): Promise<HypervisorFixture> {
  const temporary = await tempDirectory();
  const directory = join(temporary.path, "shared");
  await mkdir(directory);
  await writeFile(join(directory, "greeting"), "hello");
  const run = join(temporary.path, "run");
  await mkdir(run);
  const guests = new Map<string, GuestBehaviour>();
  const bare = await qemu({ accelerator: "tcg" });
  const isReady = async ({ runDirectory }: { readonly runDirectory: string }) => {
    const console = join(runDirectory, "console.log");
    await until(async () => (await readFile(console, "utf8").catch(() => "")).includes("READY"));
    await until(() => logsRun(runDirectory));
  };
  const templates = join(temporary.path, "templates");
  const wanted = ({ nonce }: VmIntent) => guests.get(nonce) === "quiet";
  return {
    hypervisor: saved ? fromTemplates(bare, { wanted, booted: isReady, directory: templates }) : bare,
    directory,
    guestResizes: false, // a few bytes of real mode have no driver for memory
    async vmIntent(sandbox, guest) {
      const nonce = randomBytes(16).toString("hex");
      guests.set(nonce, guest);
      const runDirectory = join(run, nonce.slice(0, 8));
      await mkdir(runDirectory, { mode: 0o700 });
      const kernel = join(temporary.path, `kernel-${guest}`);
      await writeFile(kernel, KERNELS[guest]());
      const memoryBytes = (64 * 2 ** 20) as VmIntent["memoryBytes"];
      const boot = { kernel, kernelParameters: [], agentPort: "agent.channel.0" };
      return { sandbox, nonce, runDirectory, vcpus: 1, memoryBytes, boot, detached: false };
    },
    async booted(grant) {
      if (guests.get(grant.nonce) !== "quiet") return;
      if (saved) await until(() => logsRun(grant.runDirectory));
      else await isReady(grant);
    },
    async kill({ process }) {
      if (!process) throw new Error("a VM of QEMU is a process");
      await signalProcess(process, "SIGKILL");
      await until(async () => !(await isAlive(process)));
    },
    snapshot: () => held(run),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

/** Whether each of the log's two shells has started its `head`. Until it is one, a copy of the shell is there, which a snapshot would count. */
async function logsRun(runDirectory: string): Promise<boolean> {
  const nameOf = async (pid: number | string) => (await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "")).trim();
  const heads = await Promise.all(
    (await findProcessesByMark(runDirectory)).map(async ({ pid }) => {
      if ((await nameOf(pid)) !== "sh") return [];
      const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
      const started = await Promise.all(children.trim().split(" ").map(nameOf));
      return [started.includes("head")];
    }),
  );
  return heads.flat().length === 2 && heads.flat().every(Boolean);
}

/** What stands on the host for the VMs with run directories in `run`. The log of a killed VM ends with it, a moment later. */
async function held(run: string): Promise<unknown> {
  const entries = await readdir(run, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
  const mounts = (await readFile("/proc/self/mountinfo", "utf8")).split("\n").filter((line) => line.includes(run));
  const processes = await findProcessesByMark(run);
  const images = await Promise.all(processes.map(({ pid }) => openImages(pid)));
  return { files: files.sort(), mounts, images: images.flat().sort(), processes: processes.length };
}

/** The disk images that a process has open: a plugged disk is nothing else on the host. */
async function openImages(pid: number): Promise<string[]> {
  const fds = await readdir(`/proc/${pid}/fd`).catch(() => []); // it may be ending
  const targets = await Promise.all(fds.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => "")));
  return targets.filter((target) => target.endsWith(".img"));
}

if (process.getuid?.() === 0) {
  hypervisorSuite("hypervisor-qemu", () => fixture({ saved: false }), { suite: s });
  hypervisorSuite("hypervisor-qemu from templates", () => fixture({ saved: true }), { suite: s });
} else s.skip("the whole suite", "shares need root");

s.run();
