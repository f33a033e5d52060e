import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import type { DiskGrant, DiskIntent, HoldingKind, Hypervisor, VmGrant } from "tapvisor/plugin";
import { leaseMachine, type MachineLease } from "../../../../plugins/hypervisor-qemu/machines.ts";
import { until } from "./world.ts";

const run = promisify(execFile);

/** The provider's holdings of disks, which it always has. */
export function disks(hypervisor: Hypervisor): HoldingKind<DiskIntent, DiskGrant> {
  if (!hypervisor.holdings.disk) throw new Error("no disks");
  return hypervisor.holdings.disk;
}

/** A file of zeros. */
export async function rawImage(path: string, bytes = 2 ** 20): Promise<string> {
  await writeFile(path, Buffer.alloc(bytes));
  return path;
}

/** An empty qcow2 image, made by the VM's own QEMU. */
export async function qcow2Image(vm: VmGrant, path: string, options: object = {}): Promise<string> {
  await using lease = await leaseMachine(vm);
  const { machine } = lease;
  await writeFile(path, "");
  await machine.execute("blockdev-add", { driver: "file", "node-name": "new", filename: path });
  await machine.execute("blockdev-create", { "job-id": "new", options: { driver: "qcow2", file: "new", size: 2 ** 20, ...options } });
  await until(async () => (await jobs(lease)).some(({ status }) => status === "concluded"));
  const [job] = await jobs(lease);
  await machine.execute("job-dismiss", { id: "new" });
  await machine.execute("blockdev-del", { "node-name": "new" });
  if (job?.error !== undefined) throw new Error(job.error);
  return path;
}

async function jobs({ machine }: MachineLease) {
  return (await machine.execute("query-jobs")) as readonly { readonly status: string; readonly error?: string }[];
}

/** A loop device over an image; disposing lets go of it. */
export async function loopDevice(image: string, ...options: string[]): Promise<AsyncDisposable & { readonly path: string }> {
  const { stdout } = await run("losetup", ["--find", "--show", ...options, image]);
  const path = stdout.trim();
  return {
    path,
    async [Symbol.asyncDispose]() {
      await run("losetup", ["--detach", path]);
    },
  };
}

/** All that a disk could leave in QEMU: devices and block nodes. */
export async function diskView(vm: VmGrant) {
  await using lease = await leaseMachine(vm);
  const names = async (command: string, args: Record<string, unknown>, key: string) => {
    const list = (await lease.machine.execute(command, args)) as readonly Record<string, string>[];
    return list.map((item) => item[key]).sort();
  };
  return {
    devices: await names("qom-list", { path: "/machine/peripheral" }, "name"),
    nodes: await names("query-named-block-nodes", { flat: true }, "node-name"),
  };
}
