import { type Bytes, GiB, MiB, type VmIntent } from "tapvisor/plugin";
import * as assert from "uvu/assert";
import { commandLine, type MachineShape } from "../../../plugins/hypervisor-qemu/command-line.ts";
import { SOCKET_PATH_BYTES } from "../../../plugins/hypervisor-qemu/paths.ts";
import { suite } from "../../support/suite.ts";
import { refusal } from "./support/refusal.ts";

const s = suite("hypervisor-qemu command line");

const INTENT: VmIntent = {
  sandbox: "web-1",
  nonce: "0123456789abcdef",
  runDirectory: "/run/t/web-1",
  vcpus: 1,
  memoryBytes: 536_870_912 as VmIntent["memoryBytes"],
  boot: {
    kernel: "/boot/vmlinuz",
    initrd: "/boot/initrd",
    image: "/boot/root.erofs",
    kernelParameters: ["init=/sbin/agent", "panic=5"],
    agentPort: "agent.channel.0",
  },
  detached: false,
};

const KERNEL_WORDS =
  "console=ttyS0 quiet loglevel=1 panic=1 oops=panic reboot=t tsc=reliable no_timer_check cryptomgr.notests random.trust_cpu=on 8250.nr_uarts=1 " +
  "i8042.noaux i8042.nomux i8042.nopnp i8042.dumbkbd memhp_default_state=online memory_hotplug.online_policy=auto-movable " +
  "memory_hotplug.auto_movable_ratio=700 swiotlb=512";

const TCG: MachineShape = { accelerator: "tcg", machine: "q35", memoryDevice: "virtio-mem" };
const Q35_BRIDGE = ["-device", "pcie-pci-bridge,id=bridge,addr=0x10"];
const PC_BRIDGE = ["-device", "pci-bridge,chassis_nr=1,id=bridge,addr=0x10"];

/** What follows the image's disk and stands before the memory to grow by and the bridge; the same for every VM but for the run directory. */
const rest = (directory: string) => [
  ...["-device", "virtio-serial-pci,id=serial"],
  ...["-chardev", `socket,id=agent,path=${directory}/agent.sock,server=on,wait=off`],
  ...["-device", "virtserialport,id=agent-port,bus=serial.0,chardev=agent,name=agent.channel.0"],
  ...["-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=entropy"],
  ...["-device", "virtio-scsi-pci,id=scsi"],
];

const SANDBOX = ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"];

s.test("golden: emulated, with initrd and image", () => {
  assert.equal(commandLine(INTENT, TCG), [
    ...["-name", "guest=web-1/tapvisor-vm:0123456789abcdef"],
    ...[
      "-machine",
      "q35,memory-backend=ram,dump-guest-core=off,vmport=off,sata=off,smbus=off",
      "-accel",
      "tcg,thread=multi",
      "-cpu",
      "max",
    ],
    ...["-m", "512M", "-smp", "cpus=1", "-object", "memory-backend-memfd,id=ram,size=512M,share=on"],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", ...SANDBOX],
    ...["-chardev", "socket,id=qmp,path=/run/t/web-1/qmp.sock,server=on,wait=off", "-mon", "chardev=qmp,mode=control"],
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    ...["-kernel", "/boot/vmlinuz", "-initrd", "/boot/initrd"],
    ...["-append", `${KERNEL_WORDS} nokaslr mitigations=off nopti init=/sbin/agent panic=5`],
    "-blockdev",
    '{"driver":"raw","node-name":"image","read-only":true,"file":{"driver":"file","filename":"/boot/root.erofs","read-only":true}}',
    ...["-device", "virtio-blk-pci,id=image-disk,drive=image"],
    ...rest("/run/t/web-1"),
    ...Q35_BRIDGE,
  ]);
});

s.test("golden: pc, and KVM, which keeps the kernel's defences; commas in socket paths are doubled, elsewhere they stand", () => {
  const boot = { kernel: "/b,oot/vmlinuz", kernelParameters: [], agentPort: "agent.channel.0" };
  assert.equal(commandLine({ ...INTENT, runDirectory: "/run/a,b,,c", vcpus: 3, boot }, { ...TCG, accelerator: "kvm", machine: "pc" }), [
    ...["-name", "guest=web-1/tapvisor-vm:0123456789abcdef"],
    ...["-machine", "pc,memory-backend=ram,dump-guest-core=off,vmport=off,sata=off,smbus=off", "-accel", "kvm", "-cpu", "host"],
    ...["-m", "512M", "-smp", "cpus=3", "-object", "memory-backend-memfd,id=ram,size=512M,share=on"],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", ...SANDBOX],
    ...["-chardev", "socket,id=qmp,path=/run/a,,b,,,,c/qmp.sock,server=on,wait=off", "-mon", "chardev=qmp,mode=control"],
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    ...["-kernel", "/b,oot/vmlinuz", "-append", KERNEL_WORDS],
    ...rest("/run/a,,b,,,,c"),
    ...PC_BRIDGE,
  ]);
});

s.test(
  "golden: a template's memory is a shared file, a clone's its own copy of it, and the clone waits for its state; all else is equal",
  () => {
    const file = "/tmp/a,b";
    const own = commandLine(INTENT, TCG);
    const template = commandLine({ ...INTENT, memory: { kind: "template", file } }, TCG);
    const clone = commandLine({ ...INTENT, memory: { kind: "clone", file, state: "/tmp/state" } }, TCG);
    const added = (argv: readonly string[]) => argv.filter((word) => !own.includes(word));
    assert.equal(added(template), ["memory-backend-file,id=ram,size=512M,mem-path=/tmp/a,,b,share=on"]);
    assert.equal(added(clone), ["memory-backend-file,id=ram,size=512M,mem-path=/tmp/a,,b,share=off", "-incoming", "defer"]);
    assert.is(template.length, own.length);
  },
);

s.test(
  "golden: sockets that are inherited are named by their descriptors, and the run directory stays in the command line; all else is equal",
  () => {
    const runDirectory = "/run/a,b";
    const own = commandLine({ ...INTENT, runDirectory }, TCG);
    const inheriting = commandLine({ ...INTENT, runDirectory }, { ...TCG, inheritsSockets: true });
    assert.equal(
      inheriting.filter((word) => !own.includes(word)),
      [
        "guest=web-1/tapvisor-vm:0123456789abcdef:/run/a,,b/qmp.sock",
        "socket,id=qmp,fd=4,server=on,wait=off",
        "socket,id=agent,fd=5,server=on,wait=off",
      ],
    );
    assert.is(inheriting.length, own.length);
  },
);

/** What the options of a growing machine are, one word each. */
function growing(limits: { vcpus: number; memoryBytes: number }, shape: MachineShape, memoryBytes = INTENT.memoryBytes) {
  const argv = commandLine({ ...INTENT, memoryBytes, limits: { ...limits, memoryBytes: limits.memoryBytes as Bytes } }, shape);
  return {
    memory: argv[argv.indexOf("-m") + 1],
    vcpus: argv[argv.indexOf("-smp") + 1],
    tail: argv.slice(argv.indexOf("virtio-scsi-pci,id=scsi") + 1),
  };
}

s.test("golden: a VM that may grow has room for vCPUs and a virtio-mem device of all the memory it may have more", () => {
  assert.equal(growing({ vcpus: 16, memoryBytes: 4 * GiB }, TCG), {
    memory: "512M,slots=16,maxmem=4096M",
    vcpus: "cpus=1,maxcpus=16",
    tail: [
      ...["-object", "memory-backend-memfd,id=growth-ram,size=3584M,share=on,reserve=off"],
      ...["-device", "virtio-mem-pci,id=growth,memdev=growth-ram", ...Q35_BRIDGE],
    ],
  });
});

s.test("golden: without virtio-mem it has slots for modules; pc's vCPUs and memory are the same", () => {
  assert.equal(growing({ vcpus: 2, memoryBytes: 4 * GiB }, { ...TCG, machine: "pc", memoryDevice: "pc-dimm" }), {
    memory: "512M,slots=16,maxmem=4096M",
    vcpus: "cpus=1,maxcpus=2",
    tail: PC_BRIDGE,
  });
});

s.test("a VM grows by whole blocks of its memory device; less than one, and limits that are the boot's size, are no growth", () => {
  const most = (limit: number, memoryDevice: MachineShape["memoryDevice"]) =>
    growing({ vcpus: 1, memoryBytes: limit }, { ...TCG, memoryDevice }).memory;
  assert.is(most(1 * GiB + 3 * MiB, "virtio-mem"), "512M,slots=16,maxmem=1026M");
  assert.is(most(1 * GiB + 3 * MiB, "pc-dimm"), "512M,slots=16,maxmem=1024M");
  for (const memoryDevice of ["virtio-mem", "pc-dimm"] as const) assert.is(most(513 * MiB, memoryDevice), "512M");
  assert.equal(growing({ vcpus: 1, memoryBytes: 512 * MiB }, TCG), { memory: "512M", vcpus: "cpus=1", tail: Q35_BRIDGE });
});

s.test("an image's path is data, whatever characters it has", () => {
  const image = '/im,age",driver=x\\';
  const argv = commandLine({ ...INTENT, boot: { ...INTENT.boot, image } }, TCG);
  const node = JSON.parse(argv[argv.indexOf("-blockdev") + 1] ?? "") as { file: { filename: string } };
  assert.is(node.file.filename, image);
});

s.test("memory that is no whole MiB is rounded up, for machine and backend alike", () => {
  const argv = commandLine({ ...INTENT, memoryBytes: (4 * 2 ** 30 + 1) as VmIntent["memoryBytes"] }, TCG);
  assert.is(argv[argv.indexOf("-m") + 1], "4097M");
  assert.ok(argv.includes("memory-backend-memfd,id=ram,size=4097M,share=on"));
});

const REFUSED: readonly [string, Partial<VmIntent>][] = [
  ["sandbox", { sandbox: "../x" }],
  ["sandbox", { sandbox: "a,b" }],
  ["nonce", { nonce: "short" }],
  ["nonce", { nonce: "0123456789abcde,f" }],
  ["vcpus", { vcpus: 0 }],
  ["vcpus", { vcpus: 1.5 }],
  ["memoryBytes", { memoryBytes: 0 as VmIntent["memoryBytes"] }],
  ["limits.vcpus", { limits: { vcpus: 0, memoryBytes: INTENT.memoryBytes } }],
  ["limits.vcpus", { limits: { vcpus: 1.5, memoryBytes: INTENT.memoryBytes } }],
  ["limits.memoryBytes", { limits: { vcpus: 1, memoryBytes: (INTENT.memoryBytes - 1) as Bytes } }],
  ["limits.memoryBytes", { limits: { vcpus: 1, memoryBytes: Number.NaN as Bytes } }],
  ["runDirectory", { runDirectory: "run" }],
  ["runDirectory", { runDirectory: "/run\0" }],
  ["boot.kernel", { boot: { ...INTENT.boot, kernel: "-version" } }],
  ["boot.initrd", { boot: { ...INTENT.boot, initrd: "initrd" } }],
  ["boot.image", { boot: { ...INTENT.boot, image: "root.erofs" } }],
  ["boot.agentPort", { boot: { ...INTENT.boot, agentPort: "a,chardev=qmp" } }],
  ["boot.kernelParameters", { boot: { ...INTENT.boot, kernelParameters: ["a b"] } }],
  ["boot.kernelParameters", { boot: { ...INTENT.boot, kernelParameters: ["a\n"] } }],
  ["boot.kernelParameters", { boot: { ...INTENT.boot, kernelParameters: [""] } }],
];
for (const [field, change] of REFUSED) {
  s.test(`${field} ${JSON.stringify(Object.values(change)[0])} is refused by name`, async () => {
    const error = await refusal((async () => commandLine({ ...INTENT, ...change }, TCG))());
    assert.is(error.code === "INVALID_INPUT" && error.data.path, field);
  });
}

s.test("a socket path of 107 bytes is taken, one more is refused with the path and the limit", async () => {
  const longest = `/${"é".repeat(1)}${"x".repeat(SOCKET_PATH_BYTES - 3 - "/agent.sock".length)}`;
  commandLine({ ...INTENT, runDirectory: longest }, TCG);
  const error = await refusal((async () => commandLine({ ...INTENT, runDirectory: `${longest}x` }, TCG))());
  assert.is(error.code, "INVALID_INPUT");
  assert.match(error.message, `${longest}x/agent.sock`);
  assert.match(error.message, /108 bytes, wanted at most 107/);
});

s.run();
