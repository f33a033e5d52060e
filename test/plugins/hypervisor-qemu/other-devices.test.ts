import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { VmGrant } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { performSteps, type Step, undoSteps } from "../../../plugins/hypervisor-qemu/device-steps.ts";
import { leaseMachine } from "../../../plugins/hypervisor-qemu/machines.ts";
import { nicSteps } from "../../../plugins/hypervisor-qemu/nic.ts";
import { vfioSteps } from "../../../plugins/hypervisor-qemu/vfio.ts";
import { vhostUserSteps } from "../../../plugins/hypervisor-qemu/vhost-user.ts";
import { suite } from "../../support/suite.ts";
import { diskView, rawImage } from "./support/disks.ts";
import { unpluggingKernel } from "./support/real-mode-kernel.ts";
import { refusal } from "./support/refusal.ts";
import { call, until, world } from "./support/world.ts";

const s = suite("hypervisor-qemu other devices, in the words of the real QEMU");
const MAC = "52:54:00:12:34:56";

/** All that the steps could leave: devices, block nodes, character devices. */
async function whole(vm: VmGrant) {
  await using lease = await leaseMachine(vm);
  const chardevs = (await lease.machine.execute("query-chardev")) as readonly { readonly label: string }[];
  return { ...(await diskView(vm)), chardevs: chardevs.map(({ label }) => label).sort() };
}

async function perform(vm: VmGrant, steps: readonly Step[]): Promise<void> {
  await using lease = await leaseMachine(vm);
  await performSteps(lease.machine, "it", call(), async (run) => {
    for (const step of steps) await run(step);
  });
}

async function plugAndTakeBack(vm: VmGrant, steps: readonly Step[]): Promise<void> {
  const before = await whole(vm);
  // Twice: a backend that were left would be in the way of the second.
  for (let n = 0; n < 2; n++) {
    await perform(vm, steps);
    assert.is.not((await whole(vm)).devices.length, before.devices.length);
    await using lease = await leaseMachine(vm);
    await undoSteps(lease.machine, "it", steps, call().signal);
    assert.equal(await whole(vm), before);
  }
}

s.test("a network card on the user network comes and goes", async () => {
  await using w = await world(unpluggingKernel());
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  await plugAndTakeBack(vm, nicSteps({ id: "lan", mac: MAC, network: { kind: "user", restrict: true } }));
});

const tapTest: typeof s.test =
  process.geteuid?.() === 0 && existsSync("/dev/net/tun") ? s.test : (title) => s.skip(title, "a tap needs root and /dev/net/tun");
tapTest("a network card on a tap of two queues comes and goes", async () => {
  await using w = await world(unpluggingKernel());
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  await plugAndTakeBack(vm, nicSteps({ id: "lan", mac: MAC, network: { kind: "tap", interface: `tv${process.pid}`, queues: 2 } }));
});

s.test("a vhost-user disk, served by QEMU's storage daemon, comes and goes", async () => {
  await using w = await world(unpluggingKernel());
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const socket = join(w.directory, "blk.sock");
  await using _daemon = await storageDaemon(await rawImage(join(w.directory, "disk.img")), socket);
  await plugAndTakeBack(vm, vhostUserSteps({ kind: "blk", id: "spdk", socket }));
});

s.test("a device of the host that is not there is refused in QEMU's words, and none of its group is left", async () => {
  await using w = await world(unpluggingKernel());
  const vm = await w.hypervisor.holdings.vm.acquire(w.intent, call());
  const before = await whole(vm);
  const sysfsdev = "/sys/bus/mdev/devices/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
  for (const device of [{ host: "ffff:01:00.0" }, { sysfsdev }]) {
    const error = await refusal(perform(vm, vfioSteps({ id: "gpu", devices: [device] })));
    assert.match(error.message, /no such host device/);
    assert.equal(await whole(vm), before);
  }
});

/** Serves an image as a vhost-user disk; it ends with its only client, or here. */
async function storageDaemon(image: string, socket: string): Promise<AsyncDisposable> {
  const node = `driver=file,node-name=disk,filename=${image}`;
  const served = `type=vhost-user-blk,id=disk,node-name=disk,writable=on,addr.type=unix,addr.path=${socket}`;
  const child = spawn("qemu-storage-daemon", ["--blockdev", node, "--export", served], { stdio: "inherit" });
  const exited = once(child, "exit");
  await until(async () => existsSync(socket));
  return {
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

s.run();
