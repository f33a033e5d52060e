import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type GuestDisk, MiB, type VmGrant } from "tapvisor/plugin";
import { leaseMachine } from "../../../../plugins/hypervisor-qemu/machines.ts";

/** A SCSI id that the hypervisor's own disks have not. */
const SCSI_ID = 7;

/** Plugs disks into a running VM by QEMU's own commands, with a controller of their own. */
export async function hotDisks(vm: VmGrant, directory: string) {
  const lease = await leaseMachine(vm);
  const run = (command: string, args: object) => lease.machine.execute(command, args as Readonly<Record<string, unknown>>);
  await run("device_add", { driver: "virtio-scsi-pci", id: "test-scsi", bus: "bridge" });
  let plugged = 0;
  return {
    /** An empty disk of 1 MiB; disposing takes it out. */
    async plug(): Promise<AsyncDisposable & { readonly disk: GuestDisk; readonly bytes: number }> {
      const lun = plugged++;
      const [id, filename] = [`test-disk${lun}`, join(directory, `test-disk${lun}`)];
      await writeFile(filename, Buffer.alloc(MiB));
      await run("blockdev-add", { driver: "raw", "node-name": id, file: { driver: "file", filename } });
      await run("device_add", { driver: "scsi-hd", id, drive: id, bus: "test-scsi.0", "scsi-id": SCSI_ID, lun });
      return {
        disk: { driver: "scsi", address: `${SCSI_ID}:${lun}` },
        bytes: MiB,
        async [Symbol.asyncDispose]() {
          const qmp = await lease.machine.connect();
          const gone = qmp.waitForEvent(`${id} to go`, ({ event, data }) => event === "DEVICE_DELETED" && data.device === id);
          await Promise.all([gone, run("device_del", { id })]);
          await run("blockdev-del", { "node-name": id });
          await rm(filename);
        },
      };
    },
    [Symbol.asyncDispose]: () => lease[Symbol.asyncDispose](),
  };
}
