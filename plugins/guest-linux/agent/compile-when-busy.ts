import { setFlagsFromString } from "node:v8";

/** What has to go through the port before compiled code is worth its price, bytes: far more than a container's start takes. */
const BUSY_BYTES = 1024 * 1024;

/**
 * The guest starts Node without its compilers (`guest-init.ts`): under emulation each piece of machine code has to be translated before it runs, in every clone
 * anew, and the interpreter is the same code for everything. Whoever moves much data is better off with compiled code. Called with what is moved.
 */
export function compilingWhenBusy(): (bytes: number) => void {
  let left = BUSY_BYTES;
  return (bytes) => {
    if (left <= 0) return;
    left -= bytes;
    if (left <= 0) for (const flag of ["--sparkplug", "--opt"]) setFlagsFromString(flag);
  };
}
