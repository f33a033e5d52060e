import { constants } from "node:fs";

/** Names a file without opening it, whatever it is: no device is woken and no FIFO waited for. Node has no name for this flag. */
const O_PATH = 0o10000000;

/** Any file, a link itself included. */
export const NAME_ONLY = O_PATH | constants.O_NOFOLLOW;
/** A directory, by way of a link too. */
export const DIRECTORY = O_PATH | constants.O_DIRECTORY;
/** A directory, and no link to one. */
export const DIRECTORY_ONLY = NAME_ONLY | constants.O_DIRECTORY;
/** Some files of /proc wait for something to read unless told not to. */
export const READ = constants.O_RDONLY | constants.O_NONBLOCK;
export const WRITE = constants.O_WRONLY | constants.O_NONBLOCK;
export const APPEND = WRITE | constants.O_APPEND;
/** A new file, and nothing that is there. */
export const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** The kernel's own way to what a descriptor stands for: no name is looked up, so it cannot have been exchanged. */
export function pathOf({ fd }: { readonly fd: number }, name?: string): string {
  return name === undefined ? `/proc/self/fd/${fd}` : `/proc/self/fd/${fd}/${name}`;
}
