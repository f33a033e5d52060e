import { resolve } from "node:path";
import { z } from "zod";
import { pathText, textSchema, validate } from "./validate.ts";

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

export const hostPath = pathText.transform((path) => resolve(path));
export const readonlyFlag = z.boolean("wanted true or false").default(false);
export const diskFormat = z.enum(["raw", "qcow2"], 'wanted "raw" or "qcow2"');
export const filesystem = textSchema.regex(/^[a-z0-9]{1,16}$/, 'wanted a file system such as "ext4"');

/** What there is to say of a disk, for a sandbox's and a container's alike. */
export const deviceFields = {
  path: hostPath,
  readonly: readonlyFlag,
  format: diskFormat.default("raw"),
  driver: z.enum(["virtio-scsi", "virtio-blk"], 'wanted "virtio-scsi" or "virtio-blk"').optional(),
};

const schema = z.strictObject(deviceFields);

/** Relative paths are of the working directory. @throws INVALID_INPUT naming the field. */
export function deviceOptions(options: unknown): z.output<typeof schema> {
  return validate(schema, options, "device");
}
