import { join } from "node:path";

/** The directory of a sandbox's sockets and logs. Short on purpose: a unix socket's path ends at 107 bytes. */
export function runDirectoryOf(root: string, sandbox: string): string {
  return join(root, "run", sandbox);
}

/** Where a container's share is mounted in the guest, as Kata has it. */
export function guestShareOf(container: string): string {
  return `/run/kata-containers/shared/containers/${container}`;
}

/** Where the guest keeps what is a container's own. */
export function guestContainerOf(container: string): string {
  return `/run/kata-containers/${container}`;
}

/** Where a container's root file system stands in the guest. */
export function guestRootfsOf(container: string): string {
  return `${guestContainerOf(container)}/rootfs`;
}
