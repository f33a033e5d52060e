import type { Call } from "tapvisor/plugin";
import { type Accelerator, chooseAccelerator, THIS_HOST } from "./accelerator.ts";
import { firstRefused, type QemuUser } from "./user.ts";

/** What runs the guest's processors when QEMU runs as this user: KVM has to open for it, too. @throws HOST_MISSING when KVM is asked for and does not. */
export async function acceleratorFor(wanted: "auto" | "kvm" | "tcg", user: QemuUser | undefined, call: Call): Promise<Accelerator> {
  if (!user) return chooseAccelerator(wanted);
  const openKvm = async () => {
    await THIS_HOST.openKvm();
    const refused = await firstRefused(user, [{ field: "accelerator", path: "/dev/kvm", access: "read and write" }], call);
    if (refused) throw new Error(`user "${user.name}", who QEMU runs as, cannot read and write it`);
  };
  return chooseAccelerator(wanted, { ...THIS_HOST, openKvm });
}
