import { FSTAB, GUEST_INIT_SCRIPT } from "./guest-init.ts";
import { GUEST_INIT } from "./initrd.ts";
import type { KernelModule } from "./modules.ts";
import { directory, hostFile, symlinkTo, type Tree, textFile, treeOf } from "./tree.ts";

const MODULE_DIRECTORY = "/usr/lib/tapvisor/modules";

export interface ImageParts {
  readonly node: string;
  readonly crun: string;
  readonly busybox: string;
  readonly perl: string;
  /** Names of the commands that busybox can be. */
  readonly applets: readonly string[];
  /** Absolute paths of the host, and so of the guest. */
  readonly libraries: readonly string[];
  /** The bundled agent, one CommonJS file. */
  readonly agent: string;
  /** What the agent may load later, in order of need: name -> modules. Those of the initrd are loaded by then and not among them. */
  readonly modules: ReadonlyMap<string, readonly KernelModule[]>;
}

/** The guest's root file system: read-only, so nothing of one boot is seen by the next; what changes lies in tmpfs. */
export function imageTree(parts: ImageParts): Tree {
  const moduleFiles = new Map([...parts.modules.values()].flat().map((module) => [module.name, module.file]));
  return treeOf([
    ...parts.applets.map((applet) => [`usr/bin/${applet}`, symlinkTo("busybox")] as const),
    ["usr/bin/init", symlinkTo(GUEST_INIT)],
    ["usr/bin/busybox", hostFile(parts.busybox, { executable: true })],
    ["usr/bin/node", hostFile(parts.node, { executable: true })],
    ["usr/bin/crun", hostFile(parts.crun, { executable: true })],
    ["usr/bin/perl", hostFile(parts.perl, { executable: true })],
    ...["bin", "sbin"].map((path) => [path, symlinkTo("usr/bin")] as const),
    ...parts.libraries.map((path) => [path.slice(1), hostFile(path, { executable: true })] as const),
    [GUEST_INIT.slice(1), textFile(GUEST_INIT_SCRIPT, { executable: true })],
    ["usr/lib/tapvisor/agent.cjs", hostFile(parts.agent)],
    ...[...moduleFiles].map(([name, file]) => [`${MODULE_DIRECTORY.slice(1)}/${name}.ko`, hostFile(file)] as const),
    ["etc/tapvisor/modules.json", textFile(moduleIndex(parts.modules))],
    ["etc/fstab", textFile(FSTAB)],
    ["etc/hostname", textFile("tapvisor\n")],
    ["etc/hosts", textFile("127.0.0.1 localhost\n::1 localhost\n")],
    ["etc/passwd", textFile("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")],
    ["etc/group", textFile("root:x:0:\ntty:x:5:\nnogroup:x:65534:\n")],
    ["etc/machine-id", symlinkTo("/run/machine-id")], // there is none until the guest is given one
    ["etc/mtab", symlinkTo("/proc/self/mounts")],
    ["etc/resolv.conf", symlinkTo("/run/kata-containers/sandbox/resolv.conf")],
    ["var/run", symlinkTo("/run")],
    ["var/tmp", symlinkTo("/tmp")],
    ...["dev", "mnt", "proc", "root", "run", "sys", "tmp"].map((path) => [path, directory] as const),
  ]);
}

/** For the agent: the files to load for a module, first to last. */
function moduleIndex(modules: ImageParts["modules"]): string {
  const index = [...modules].map(([name, needed]) => [name, needed.map((module) => `${MODULE_DIRECTORY}/${module.name}.ko`)]);
  return `${JSON.stringify(Object.fromEntries(index), null, 2)}\n`;
}
