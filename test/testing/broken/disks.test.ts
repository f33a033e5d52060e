import { closeSync, openSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { type DiskIntent, ownIdentity, TapvisorError } from "tapvisor/plugin";
import { hypervisorSuite } from "tapvisor/testing";
import { suite } from "../../support/suite.ts";
import { amended, kind, type MakeHypervisor, unheard } from "./amend-hypervisor.ts";
import { type Defects, expectCaught } from "./expect-caught.ts";

const s = suite("hypervisorSuite against hypervisors that plug disks badly");

const disks = kind("disk");
const refused = (id: string) => new TapvisorError("VM_COMMAND_FAILED", `no ${id}`, { data: { command: "device_add", class: "X" } });

const defects: Defects<MakeHypervisor> = {
  "says that it plugs disks and has no holding for them": [
    /capability to plug disks/,
    amended((h) => ({ ...h, holdings: { vm: h.holdings.vm } })),
  ],
  "plugs disks and does not say so": [
    /capability to plug disks/,
    amended((h) => ({ ...h, capabilities: { pause: true, shareHotplug: true, resize: true } })),
  ],
  "names a driver twice": [
    /by which drivers/,
    amended((h) => ({ ...h, capabilities: { ...h.capabilities, diskDrivers: ["virtio-blk", "virtio-blk"] } })),
  ],
  "leaves a disk at its release": [/given back twice/, disks(() => ({ release: async () => {} }))],
  "fails at a second release of a disk": [
    /a disk is granted .* given back twice/,
    disks((disk) => {
      const released = new Set<DiskIntent>();
      return {
        release: async (held, call) => {
          if (released.has(held.intent)) throw refused(held.intent.id);
          released.add(held.intent);
          await disk.release(held, call);
        },
      };
    }),
  ],
  "says another place than the disk has": [
    /where the guest finds it/,
    disks((disk) => ({
      acquire: async (intent, call) => {
        const grant = await disk.acquire(intent, call);
        return { ...grant, guest: { driver: grant.guest.driver, address: "00:3" } };
      },
    })),
  ],
  "grants a disk that JSON loses": [
    /where the guest finds it/,
    disks((disk) => ({ acquire: async (intent, call) => ({ ...(await disk.acquire(intent, call)), since: new Date() }) })),
  ],
  "writes to the image": [
    /where the guest finds it/,
    disks((disk) => ({
      acquire: async (intent, call) => {
        const grant = await disk.acquire(intent, call);
        await writeFile(intent.path, "mine", { flag: "r+" });
        return grant;
      },
    })),
  ],
  "needs a disk's grant to release it": [
    /a disk is given back by its intent alone/,
    disks((disk) => ({ release: async (held, call) => (held.grant ? disk.release(held, call) : undefined) })),
  ],
  "cannot release a disk that it did not plug": [
    /when it never was/,
    disks((disk) => {
      const plugged = new Set<DiskIntent>();
      return {
        acquire: (intent, call) => {
          plugged.add(intent);
          return disk.acquire(intent, call);
        },
        release: async (held, call) => {
          if (!plugged.has(held.intent)) throw refused(held.intent.id);
          await disk.release(held, call);
        },
      };
    }),
  ],
  "puts a disk in another place each time": [
    /finds the same place/,
    disks((disk) => {
      let count = 0;
      return { acquire: (intent, call) => disk.acquire({ ...intent, driver: count++ % 2 ? "virtio-blk" : "virtio-scsi" }, call) };
    }),
  ],
  "takes all disks away at one release": [
    /one by one/,
    disks((disk) => {
      const plugged: DiskIntent[] = [];
      return {
        acquire: (intent, call) => {
          plugged.push(intent);
          return disk.acquire(intent, call);
        },
        release: async (_, call) => {
          for (const intent of plugged.splice(0)) await disk.release({ intent, grant: undefined }, call);
        },
      };
    }),
  ],
  "gives two disks one address": [
    /a place each/,
    disks((disk) => ({
      acquire: async (intent, call) => {
        const grant = await disk.acquire(intent, call);
        return { ...grant, guest: { driver: grant.guest.driver, address: grant.guest.driver === "scsi" ? "0:0" : "10/01" } };
      },
    })),
  ],
  "plugs two disks of one id": [
    /second disk of an id/,
    disks((disk) => ({ acquire: (intent, call) => disk.acquire(intent, call).catch(() => ({ id: intent.id }) as never) })),
  ],
  "plugs two disks at one address": [
    /second disk at a SCSI address/,
    disks((disk) => ({
      acquire: (intent, call) => disk.acquire(intent, call).catch(() => disk.acquire({ ...intent, index: intent.index + 1 }, call)),
    })),
  ],
  "takes the disk away that was there first": [
    /its release leaves the first one/,
    disks((disk) => {
      const at = new Map<number, DiskIntent>();
      return {
        acquire: (intent, call) => {
          if (!at.has(intent.index)) at.set(intent.index, intent);
          return disk.acquire(intent, call);
        },
        release: ({ intent, grant }, call) => disk.release({ intent: at.get(intent.index) ?? intent, grant }, call),
      };
    }),
  ],
  "plugs an image that is not there": [
    /that does not exist/,
    disks((disk) => ({
      acquire: (intent, call) => disk.acquire({ ...intent, path: intent.path.includes("nonexistent") ? "/etc/passwd" : intent.path }, call),
    })),
  ],
  "plugs a directory": [
    /a directory in place of an image/,
    disks((disk) => ({ acquire: (intent, call) => disk.acquire(intent, call).catch(() => ({ id: intent.id }) as never) })),
  ],
  "takes any format for raw": [
    /of another format/,
    disks((disk) => ({ acquire: (intent, call) => disk.acquire({ ...intent, format: "raw" }, call) })),
  ],
  "leaves half of a disk that it refuses": [
    /stands in the way of the next/,
    disks((disk) => {
      const half = new Set<string>();
      return {
        acquire: async (intent, call) => {
          if (half.has(intent.id)) throw refused(intent.id);
          half.add(intent.id);
          const grant = await disk.acquire(intent, call);
          half.delete(intent.id);
          return grant;
        },
      };
    }),
  ],
  "takes any driver for its own": [
    /driver that the capability does not name/,
    disks((disk) => ({ acquire: (intent, call) => disk.acquire({ ...intent, driver: "virtio-blk" }, call) })),
  ],
  "takes any id": [
    /an id that leads elsewhere/,
    disks((disk) => ({ acquire: (intent, call) => disk.acquire({ ...intent, id: intent.id.replaceAll("/", "-") }, call) })),
  ],
  "takes any index": [
    /an index below 0/,
    disks((disk) => ({ acquire: (intent, call) => disk.acquire({ ...intent, index: Math.abs(intent.index) }, call) })),
  ],
  "cannot release what it refused": [
    /its release is success/,
    disks((disk) => ({
      release: async (held, call) => {
        if (held.intent.index < 0) throw refused(held.intent.id);
        await disk.release(held, call);
      },
    })),
  ],
  "lets a read-only disk's image be written": [
    /open for reading only/,
    amended((h) => {
      const { vm, disk } = h.holdings;
      if (!disk) return h;
      const open = new Map<string, number>();
      return {
        ...h,
        holdings: {
          ...h.holdings,
          vm: {
            ...vm,
            acquire: async (intent, call) => ({ ...(await vm.acquire(intent, call)), process: await ownIdentity() }),
            release: async (held, call) => {
              for (const fd of open.values()) closeSync(fd);
              open.clear();
              await vm.release(held, call);
            },
          },
          disk: {
            ...disk,
            acquire: async (intent, call) => {
              const grant = await disk.acquire(intent, call);
              open.set(intent.id, openSync(intent.path, "r+"));
              return grant;
            },
          },
        },
      };
    }),
  ],
  "keeps a read-only image to one disk": [
    /can be on several/,
    disks((disk) => {
      const images = new Set<string>();
      return {
        acquire: async (intent, call) => {
          if (images.has(intent.path)) throw refused(intent.id);
          images.add(intent.path);
          return disk.acquire(intent, call);
        },
      };
    }),
  ],
  "plugs a disk although the signal has fired": [
    /acquire\(\) with a signal/,
    disks((disk) => ({
      acquire: async (intent, call) => {
        const grant = await disk.acquire(intent, { ...call, ...unheard });
        call.signal.throwIfAborted();
        return grant;
      },
    })),
  ],
  "plugs a disk into a dead VM": [
    /for a dead VM fails and leaves nothing of the disk/,
    disks((disk) => ({ acquire: (intent, call) => disk.acquire(intent, call).catch(() => ({ id: intent.id }) as never) })),
  ],
  "fails to release a disk of a dead VM": [
    /a disk of a VM that has died/,
    disks((disk, h) => ({
      release: async (held, call) => {
        await h.connect(held.intent.vm, call);
        await disk.release(held, call);
      },
    })),
  ],
  "fails to release a disk after its VM": [
    /after the VM itself was/,
    disks((disk, h) => ({
      release: async (held, call) => {
        await h.connect(held.intent.vm, call);
        await disk.release(held, call);
      },
    })),
  ],
  "waits for a paused guest without end": [
    /does not answer holds a disk's release/,
    disks((disk, h) => ({
      release: async (held, call) => {
        const view = await h.connect(held.intent.vm, call);
        if ((await view.status(call)) === "paused") await new Promise(() => {});
        await disk.release(held, call);
      },
    })),
  ],
};

expectCaught(s, defects, (name, make, options) => hypervisorSuite(name, make, options));

s.run();
