import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { GuestPaths } from "../../../../../plugins/guest-linux/agent/guest-paths.ts";

/** Directories that stand in for /sys and /dev: what the kernel shows of disks and vCPUs. */
export function fakeSys({ sys, dev }: Pick<GuestPaths, "sys" | "dev">) {
  const put = async (path: string, content: string) => {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  };
  const block = async (name: string, { numbers = "8:0", sectors = 16, readonly = false } = {}) => {
    const directory = join(sys, "class/block", name);
    await put(join(directory, "dev"), `${numbers}\n`);
    await put(join(directory, "size"), `${sectors}\n`);
    await put(join(directory, "ro"), readonly ? "1\n" : "0\n");
    await mkdir(join(directory, "holders"), { recursive: true });
    await put(join(directory, "device/delete"), "");
  };
  return {
    put,
    /** The node is made last, as the kernel does. */
    async scsiDisk(address: string, name: string, options?: Parameters<typeof block>[1]) {
      await block(name, options);
      await mkdir(join(sys, `class/scsi_device/2:0:${address}/device/block`, name), { recursive: true });
      await put(join(dev, name), "content");
    },
    /** A bridge, and on its bus a disk. */
    async pciDisk(bridge: string, slot: string, name: string, options?: Parameters<typeof block>[1]) {
      const devices = join(sys, "bus/pci/devices");
      await block(name, options);
      await mkdir(join(devices, `0000:00:${bridge}.0/pci_bus/0000:0a`), { recursive: true });
      await mkdir(join(devices, `0000:0a:${slot}.0/virtio4/block`, name), { recursive: true });
      await put(join(dev, name), "content");
    },
    async scsiHost() {
      await put(join(sys, "class/scsi_host/host2/scan"), "");
    },
    /** vCPUs, the first of which has no switch. That of a new one appears with its value, as the kernel's does. */
    async vcpus(...online: readonly boolean[]) {
      const directory = join(sys, "devices/system/cpu");
      await mkdir(join(directory, "cpu0"), { recursive: true });
      await mkdir(join(directory, "cpufreq"), { recursive: true });
      for (const [index, each] of online.entries()) {
        const file = join(directory, `cpu${index + 1}/online`);
        await put(`${file}.new`, each ? "1\n" : "0\n");
        await rename(`${file}.new`, file);
      }
    },
    async gone(name: string) {
      await rm(join(sys, "class/block", name), { recursive: true });
    },
  };
}
