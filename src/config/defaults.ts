import { MiB } from "../base/units.ts";

/** Sizes a sandbox gets when the script names none. */
export const DEFAULT_VCPUS = 1; // a second boot vCPU costs 0.4 s of boot under emulation
export const DEFAULT_MEMORY_BYTES = 512 * MiB; // the guest's own system takes about 140 MiB of it
export const SMALLEST_MEMORY_BYTES = 128 * MiB; // less and the guest's kernel has no room to unpack and boot

/** A VM's vCPUs end here: what was tried. */
export const MOST_VCPUS = 64;
/** The unit in which Linux on x86-64 takes memory in, as long as it has less than 64 GiB. */
export const MEMORY_BLOCK = 128 * MiB;

/** Deadlines, ms. Each is named in the documentation of the call it bounds. */
export const DEADLINES = {
  /** Loading one plugin, and one tap of one hook. */
  plugin: 10_000,
  /** Releasing one holding: always a fresh deadline, never the caller's signal. */
  release: 10_000,
  /** From the VM's start to the agent's first answer: about 5 s under emulation on an idle machine, several times that on a busy one. */
  boot: 60_000,
  /** One OCI hook that names no timeout of its own. */
  ociHook: 30_000,
  /** Starting the hypervisor's process until it takes commands. */
  launch: 20_000,
  /** One plug of one device, guest included. */
  hotplug: 20_000,
  /** Getting a container's rootfs ready: a large directory may have to be copied into an image. */
  rootfs: 600_000,
  /** One request to the agent that starts or ends something. */
  agent: 30_000,
  /** One question to an agent of which nothing was heard. */
  check: 15_000,
  /** How long a container gets between SIGTERM and SIGKILL. */
  stop: 10_000,
  /** All sandboxes of a script together when a signal ends it. */
  shutdown: 20_000,
  /** Building the guest's image, its kernel fetched by the package manager included. */
  prepareGuest: 600_000,
  /** Finding a template, which may have to be built first or waited for: a boot, a container's warm-up, a save. */
  template: 300_000,
  /** Saving a VM with its memory: some 200 MiB and more go through a socket. */
  snapshot: 300_000,
  /** Waiting for another process's lock of a sandbox. */
  lock: 30_000,
} as const;

/** How often a VM that never answered is started again; a wedged boot is rare and ends with the deadline. */
export const BOOT_RETRIES = 1;
