import { z } from "zod";
import type { OciDevice } from "../contracts/oci.ts";
import { guestPath } from "./mounts-config.ts";

/**
 * A node of a character device of the guest's kernel, that the container may read and write: `{ path: "/dev/fuse", major: 10, minor: 229 }`. The usual ones
 * (`null`, `zero`, `full`, `random`, `urandom`, `tty`, `ptmx`) are always there.
 */
export interface DeviceNodeOptions {
  /** Below /dev. */
  readonly path: string;
  readonly major: number;
  readonly minor: number;
  /** Permission bits; 0o666 by default. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

const DEFAULT_MODE = 0o666;

/** Memory and ports of the VM itself: whoever has one has the guest. */
const GUEST_MEMORY = new Set(["1:1", "1:2", "1:4"]);

const number = (most: number) => z.int("wanted a whole number").min(0, "wanted 0 or more").max(most, `wanted at most ${most}`);

export const deviceNodesSchema = z
  .array(
    z
      .strictObject({
        path: guestPath.refine((path) => path.startsWith("/dev/"), "wanted a path below /dev"),
        major: number(4095),
        minor: number(2 ** 20 - 1),
        mode: number(0o777).default(DEFAULT_MODE),
        uid: number(2 ** 31 - 1).optional(),
        gid: number(2 ** 31 - 1).optional(),
      })
      .refine(({ major, minor }) => !GUEST_MEMORY.has(`${major}:${minor}`), {
        message: "wanted another device: this one is the guest's own memory",
        path: ["minor"],
      })
      .transform(({ path, major, minor, mode, uid, gid }): OciDevice => {
        return { path, type: "c", major, minor, fileMode: mode, ...(uid && { uid }), ...(gid && { gid }) };
      }),
    "wanted a list of device nodes",
  )
  .default([]);
