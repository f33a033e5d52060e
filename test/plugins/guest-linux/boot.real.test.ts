import { execFile } from "node:child_process";
import { truncate } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { GuestFiles } from "../../../plugins/guest-linux/image/entry.ts";
import { findKernel, type KernelPlaces } from "../../../plugins/guest-linux/image/kernel.ts";
import { prepareGuest } from "../../../plugins/guest-linux/image/prepare.ts";
import { findProgram } from "../../../plugins/guest-linux/image/program.ts";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { call, writeFiles } from "./fixtures.ts";

const s = suite("guest-linux boot");

/** In place of the agent: looks at what it finds, loads every module there is a list for, leaves an orphan, and ends with 7. */
const LOOKER = `
const { execFileSync, spawnSync } = require("node:child_process");
const { readFileSync, readdirSync } = require("node:fs");
const sh = (script) => execFileSync("sh", ["-c", script], { encoding: "utf8" });
const say = (name, value) => console.log("look:" + name + "=" + JSON.stringify(value));
say("kernel", sh("uname -r").trim());
say("hostname", require("node:os").hostname());
say("mounts", sh("cut -d' ' -f2,3 /proc/self/mounts").trim().split("\\n"));
say("controllers", sh("cat /sys/fs/cgroup/cgroup.subtree_control").trim().split(" "));
say("loopback", sh("cat /sys/class/net/lo/flags").trim());
say("crun", spawnSync("crun", ["--version"]).status);
say("rootWritable", spawnSync("touch", ["/written"]).status === 0);
say("ports", readdirSync("/sys/class/virtio-ports").length);
const modules = JSON.parse(readFileSync("/etc/tapvisor/modules.json", "utf8"));
const loaded = () => sh("cut -d' ' -f1 /proc/modules").split("\\n");
const load = (name) => modules[name].every((file) => /^$|File exists/.test(spawnSync("insmod", [file], { encoding: "utf8" }).stderr));
say("modules", Object.keys(modules).filter((name) => load(name) && loaded().includes(name)));
// The shell in between ends at once; its child belongs to process 1 then, and a line on the pipe says that it is about to end.
sh("(sh -c 'echo gone') & ");
const orphans = () => readdirSync("/proc").filter((pid) => /^[0-9]+$/.test(pid)).map((pid) => {
  try { return readFileSync("/proc/" + pid + "/stat", "latin1"); } catch { return ""; }
}).filter((stat) => / Z 1 /.test(stat)).length;
const waiting = setInterval(() => {
  if (orphans() > 0) return;
  clearInterval(waiting);
  say("orphans", 0);
  process.exitCode = 7;
}, 10);
`;

const cacheDirectory =
  process.env.TAPVISOR_CACHE ?? (process.getuid?.() === 0 ? "/var/cache/tapvisor" : join(homedir(), ".cache/tapvisor"));
const places: KernelPlaces = { systemRoot: "/", unpacked: join(cacheDirectory, "kernels") };

async function guest(directory: string, agent: string): Promise<GuestFiles> {
  await writeFiles(directory, { "agent.cjs": agent });
  return prepareGuest({ places, agent: join(directory, "agent.cjs"), cache: join(directory, "guest") }, call(), () => {});
}

/** Boots with nothing but QEMU and resolves with the console's text when the VM has ended by itself. */
function boot(files: GuestFiles): Promise<string> {
  const args = [
    ...["-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "512M", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-kernel", files.kernel, "-initrd", files.initrd, "-append", "console=ttyS0 quiet loglevel=1 panic=-1 random.trust_cpu=on"],
    ...["-drive", `if=none,id=root,file=${files.image},format=raw,read-only=on`, "-device", "virtio-blk-pci,drive=root"],
    ...["-device", "virtio-serial-pci", "-chardev", "null,id=none", "-device", "virtserialport,chardev=none,name=agent.channel.0"],
    ...["-serial", "stdio"],
  ];
  return new Promise((resolve, reject) => {
    const command = ["--pdeathsig", "KILL", "qemu-system-x86_64", ...args];
    execFile("setpriv", command, { timeout: 60_000, killSignal: "SIGKILL" }, (error, stdout, stderr) =>
      error ? reject(new Error(`${error.message}\n${stdout}\n${stderr}`)) : resolve(stdout),
    );
  });
}

function seen(console: string): Record<string, unknown> {
  return Object.fromEntries([...console.matchAll(/^look:(\w+)=(.*?)\r?$/gm)].map(([, name = "", value = ""]) => [name, JSON.parse(value)]));
}

const missing = (await findProgram("qemu-system-x86_64")) === undefined ? "no QEMU" : (await findKernel(places)) ? undefined : "no kernel";
const test: typeof s.test = (name, body, options) =>
  missing ? s.skip(name, `${missing}: run npm run setup`) : s.test(name, body, options);

test(
  "the built guest boots, is set up as containers need it, reaps orphans, and ends with its agent",
  async () => {
    await using temp = await tempDirectory();
    const console = await boot(await guest(temp.path, LOOKER));
    const look = seen(console);
    assert.match(String(look.kernel), /-cloud-amd64$/);
    assert.is(look.hostname, "tapvisor");
    for (const mount of [
      "/ erofs",
      "/proc proc",
      "/sys sysfs",
      "/dev devtmpfs",
      "/dev/pts devpts",
      "/dev/shm tmpfs",
      "/dev/mqueue mqueue",
    ]) {
      assert.ok((look.mounts as string[]).includes(mount), mount);
    }
    for (const mount of ["/run tmpfs", "/tmp tmpfs", "/sys/fs/cgroup cgroup2"]) assert.ok((look.mounts as string[]).includes(mount), mount);
    for (const controller of ["cpu", "memory", "pids"]) assert.ok((look.controllers as string[]).includes(controller), controller);
    assert.is(Number(look.loopback) & 1, 1, "the loopback interface is up");
    assert.is(look.crun, 0);
    assert.is(look.rootWritable, false);
    assert.is(look.ports, 1);
    assert.equal(look.modules, ["virtio_rng", "virtio_mem", "virtio_scsi", "sd_mod", "virtio_net", "loop"]);
    assert.is(look.orphans, 0);
    assert.match(console, "tapvisor: the agent ended with exit code 7");
  },
  { timeoutMs: 90_000 },
);

test(
  "a damaged image or initrd ends the VM at once with a line that says what failed",
  async () => {
    await using temp = await tempDirectory();
    const files = await guest(temp.path, "");
    await truncate(files.image, 512);
    const console = await boot(files);
    assert.match(console, "tapvisor: cannot mount the guest's image from /dev/vda");
    assert.match(console, "Kernel panic");
    await truncate(files.initrd, 100_000);
    assert.match(await boot(files), "Kernel panic");
  },
  { timeoutMs: 150_000 },
);

s.run();
