import { z } from "zod";

export interface GuestFilesOptions {
  /** The kernel's file. Relative paths start at the working directory. */
  readonly kernel: string;
  /** A first root file system for the kernel. */
  readonly initrd?: string | undefined;
  /** A root file system, attached as the first, read-only virtio-blk disk; `kernelParameters` must say how the kernel mounts it. */
  readonly image?: string | undefined;
  /** Words of the kernel's command line; none by default. */
  readonly kernelParameters?: readonly string[] | undefined;
  /** Name of the virtio-serial port the guest's agent listens on; `agent.channel.0`, Kata's, by default. */
  readonly agentPort?: string | undefined;
  /** Whether the guest drives virtio-mem devices, so that memory can be plugged in and taken back in small pieces; `false` by default. */
  readonly virtioMem?: boolean | undefined;
}

const file = z.string().min(1, "wanted a file's path");
/** The name becomes a QEMU option and a udev name. */
const portName = z.string().regex(/^[\w.-]{1,63}$/, 'wanted at most 63 letters, digits, "_", "." or "-"');
/** A space or a control character would make it another word. */
const kernelWord = z.string().regex(/^[!-~]+$/, "wanted one word of printable ASCII");

export const optionsSchema = z.strictObject({
  kernel: file,
  initrd: file.optional(),
  image: file.optional(),
  kernelParameters: z.array(kernelWord).readonly().optional(),
  agentPort: portName.optional(),
  virtioMem: z.boolean().optional(),
});
