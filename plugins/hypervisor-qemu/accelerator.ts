import { constants } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { messageOf, TapvisorError } from "tapvisor/plugin";

/** What runs the guest's processors, and why it was chosen. */
export interface Accelerator {
  readonly name: "kvm" | "tcg";
  readonly why: string;
}

/** What the choice is made from; a parameter so that every host can be tried in a test. */
export interface AcceleratorHost {
  cpuinfo(): Promise<string>;
  /** Opens /dev/kvm for reading and writing, and closes it. */
  openKvm(): Promise<void>;
}

export const THIS_HOST: AcceleratorHost = {
  cpuinfo: () => readFile("/proc/cpuinfo", "utf8"),
  openKvm: async () => (await open("/dev/kvm", constants.O_RDWR)).close(),
};

/**
 * KVM when the processor shows its virtualisation extension and /dev/kvm opens; TCG otherwise.
 *
 * A device that opens is no proof: a paravirtual KVM inside another VM opens, creates VMs, and never runs a distribution's kernel. It
 * has neither the `vmx` nor the `svm` flag.
 *
 * @throws HOST_MISSING when KVM is asked for and cannot be opened.
 */
export async function chooseAccelerator(wanted: "auto" | "kvm" | "tcg", host: AcceleratorHost = THIS_HOST): Promise<Accelerator> {
  if (wanted === "tcg") return { name: "tcg", why: "asked for" };
  const flag = /^flags\s*:.*\b(vmx|svm)\b/m.exec(await host.cpuinfo().catch(() => ""))?.[1];
  if (wanted === "auto" && !flag) return { name: "tcg", why: "the processor shows neither vmx nor svm, so KVM cannot run a usual kernel" };
  const refusal = await host.openKvm().then(
    () => undefined,
    (error: unknown) => messageOf(error),
  );
  if (refusal === undefined) return { name: "kvm", why: flag ? `the processor has ${flag} and /dev/kvm opens` : "asked for" };
  if (wanted === "auto") return { name: "tcg", why: `the processor has ${flag} but /dev/kvm does not open: ${refusal}` };
  throw new TapvisorError("HOST_MISSING", `Cannot use KVM: ${refusal}, wanted a /dev/kvm that opens`, {
    data: { what: "/dev/kvm", found: refusal },
    hint: 'use the accelerator "auto", or give this user access to /dev/kvm',
  });
}
