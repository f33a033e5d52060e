import type { KernelModule } from "./modules.ts";
import { directory, hostFile, symlinkTo, type Tree, textFile, treeOf } from "./tree.ts";

/** Where the guest's image has the program that becomes process 1. */
export const GUEST_INIT = "/usr/lib/tapvisor/init";

/** The first root file system: a shell, the modules needed to reach the image, and the script that goes there. */
export function initrdTree(parts: { readonly busybox: string; readonly modules: readonly KernelModule[] }): Tree {
  return treeOf([
    ["bin/busybox", hostFile(parts.busybox, { executable: true })],
    ["bin/sh", symlinkTo("busybox")],
    ...["dev", "proc", "root"].map((path) => [path, directory] as const),
    ...parts.modules.map(({ name, file }) => [`modules/${name}.ko`, hostFile(file)] as const),
    ["init", textFile(initrdInit(parts.modules.map(({ name }) => name)), { executable: true })],
  ]);
}

/**
 * A failed step prints a line and ends process 1, and the kernel panics: the VM ends at once instead of waiting for nobody.
 *
 * The image gets this very busybox over its own: the same bytes in the same pages, which an emulator has translated already. /proc moves
 * last, for busybox finds itself there whenever it runs one of its own commands.
 */
function initrdInit(modules: readonly string[]): string {
  return `#!/bin/sh
fail() { echo "tapvisor: cannot $1"; exit 1; }
/bin/busybox mount -t proc proc /proc || fail "mount /proc"
mount -t devtmpfs dev /dev || fail "mount /dev"
for module in ${modules.join(" ")}; do
  insmod /modules/$module.ko || fail "load the kernel module $module"
done
mount -t erofs -o ro /dev/vda /root || fail "mount the guest's image from /dev/vda"
mount --bind /bin/busybox /root/usr/bin/busybox || fail "mount busybox: the guest's image is not one of ours"
mount --move /dev /root/dev || fail "move /dev"
mount --move /proc /root/proc || fail "move /proc"
exec /bin/busybox switch_root /root ${GUEST_INIT}
`;
}
