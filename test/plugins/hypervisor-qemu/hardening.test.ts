import { chmod, mkdir, readFile, symlink } from "node:fs/promises";
import { join } from "node:path";
import type { VmIntent } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { leaseMachine } from "../../../plugins/hypervisor-qemu/machines.ts";
import { suite } from "../../support/suite.ts";
import { refusal } from "./support/refusal.ts";
import { call, qemu, world } from "./support/world.ts";

const s = suite("hypervisor-qemu hardening");

for (const detached of [false, true]) {
  s.test(
    `a live QEMU, ${detached ? "detached" : "dying with the script"}, gains no rights, is under seccomp and dumps no core`,
    async () => {
      await using w = await world();
      const intent: VmIntent = { ...w.intent, detached };
      const { process: identity } = await w.hypervisor.holdings.vm.acquire(intent, call());
      const status = await readFile(`/proc/${identity?.pid}/status`, "utf8");
      const field = (name: string) => new RegExp(`^${name}:\\s*(\\S+)`, "m").exec(status)?.[1];
      assert.equal([field("Name"), field("NoNewPrivs"), field("Seccomp")], ["qemu-system-x86", "1", "2"]);
      const limits = await readFile(`/proc/${identity?.pid}/limits`, "utf8");
      assert.match(limits, /^Max core file size\s+0\s+0\s/m);
    },
  );
}

s.test("a run directory that others may enter, or that is a link or not there, is INVALID_INPUT", async () => {
  await using w = await world();
  const open = join(w.directory, "open");
  await mkdir(open);
  await chmod(open, 0o750);
  const link = join(w.directory, "link");
  await symlink(w.intent.runDirectory, link);
  for (const runDirectory of [open, link, join(w.directory, "none")]) {
    const error = await refusal(w.hypervisor.holdings.vm.acquire({ ...w.intent, runDirectory }, call()));
    assert.equal([error.code, (error.data as { path: string }).path], ["INVALID_INPUT", "runDirectory"]);
  }
});

type Node = {
  readonly class_info: { readonly desc?: string };
  readonly id: { readonly vendor: number; readonly device: number };
  qdev_id: string;
};
type PciDevice = Node & {
  readonly slot: number;
  readonly function: number;
  readonly pci_bridge?: { readonly devices?: readonly PciDevice[] };
};

const hex = (value: number) => value.toString(16).padStart(4, "0");
const listOf = (devices: readonly PciDevice[], below = ""): string[] =>
  devices.flatMap(({ slot, function: part, id, qdev_id, pci_bridge }) => [
    `${below}${slot}.${part} ${hex(id.vendor)}:${hex(id.device)} ${qdev_id}`.trim(),
    ...listOf(pci_bridge?.devices ?? [], `${below}${slot}/`),
  ]);

/** Every device on the PCI buses: each is code that a guest can reach. */
const PCI: Readonly<Record<"q35" | "pc", readonly string[]>> = {
  q35: ["0.0 8086:29c0", "1.0 1af4:1003 serial", "2.0 1af4:1005", "3.0 1af4:1004 scsi", "16.0 1b36:000e bridge", "31.0 8086:2918"],
  pc: [
    ...["0.0 8086:1237", "1.0 8086:7000", "1.1 8086:7010", "1.3 8086:7113"],
    ...["2.0 1af4:1003 serial", "3.0 1af4:1005", "4.0 1af4:1004 scsi", "16.0 1b36:0001 bridge"],
  ],
};
/** What both machines have, by type: the buses' own parts, those of a PC, and what the guest needs. */
const COMMON = [
  ...[
    "fw_cfg_io",
    "hpet",
    "i8042",
    "i8257",
    "ioapic",
    "isa-i8259",
    "isa-pcspk",
    "isa-pit",
    "isa-serial",
    "kvmvapic",
    "mc146818rtc",
    "port92",
  ],
  ...["ps2-kbd", "ps2-mouse", "virtio-rng-device", "virtio-rng-pci", "virtio-scsi-device", "virtio-scsi-pci"],
  ...["virtio-serial-device", "virtio-serial-pci", "virtserialport"],
];
/** Every device that has a place in the machine, by type. */
const TYPES: Readonly<Record<"q35" | "pc", readonly string[]>> = {
  q35: ["ICH9-LPC", "mch", "pcie-pci-bridge", "q35-pcihost", ...COMMON],
  pc: ["PIIX3", "PIIX4_PM", "i440FX", "i440FX-pcihost", "isa-fdc", "pci-bridge", "piix3-ide", "smbus-eeprom", ...COMMON],
};

for (const machine of ["q35", "pc"] as const) {
  s.test(`golden: the devices of a machine ${machine}`, async () => {
    await using w = await world();
    const hypervisor = await qemu({ accelerator: "tcg", machine });
    const grant = await hypervisor.holdings.vm.acquire(w.intent, call());
    await using lease = await leaseMachine(grant);
    const buses = (await lease.machine.execute("query-pci")) as readonly { readonly devices: readonly PciDevice[] }[];
    assert.equal(
      buses.flatMap(({ devices }) => listOf(devices)),
      PCI[machine],
    );
    const tree = (await lease.machine.execute("human-monitor-command", { "command-line": "info qtree" })) as string;
    const types = [...tree.matchAll(/^\s*dev: ([^,\s]+)/gm)].map(([, type]) => type ?? "");
    assert.equal([...new Set(types)].sort(), TYPES[machine].toSorted());
  });
}

s.run();
