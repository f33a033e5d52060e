import { resolve } from "node:path";
import { z } from "zod";
import { pathText, validate } from "./validate.ts";

/** A block device or disk image of the host to plug into a sandbox's VM. */
export interface DeviceOptions {
  /** A block device of the host, or an image file. */
  readonly path: string;
  /** `false` by default. Enforced on the host side. */
  readonly readonly?: boolean;
  /** "raw" by default. */
  readonly format?: "raw" | "qcow2";
  /** By default the hypervisor's preferred one. */
  readonly driver?: "virtio-scsi" | "virtio-blk";
}

const schema = z.strictObject({
  path: pathText.transform((path) => resolve(path)),
  readonly: z.boolean("wanted true or false").default(false),
  format: z.enum(["raw", "qcow2"], 'wanted "raw" or "qcow2"').default("raw"),
  driver: z.enum(["virtio-scsi", "virtio-blk"], 'wanted "virtio-scsi" or "virtio-blk"').optional(),
});

/** Relative paths are of the working directory. @throws INVALID_INPUT naming the field. */
export function deviceOptions(options: unknown): z.output<typeof schema> {
  return validate(schema, options, "device");
}
