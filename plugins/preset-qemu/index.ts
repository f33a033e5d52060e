import { definePreset } from "tapvisor/plugin";
import { agentGrpc } from "tapvisor/plugins/agent-grpc";
import { guestLinux } from "tapvisor/plugins/guest-linux";
import { hypervisorQemu } from "tapvisor/plugins/hypervisor-qemu";
import { rootfsBlock } from "tapvisor/plugins/rootfs-block";
import { rootfsDir } from "tapvisor/plugins/rootfs-dir";
import { stateFs } from "tapvisor/plugins/state-fs";
import { transportSerial } from "tapvisor/plugins/transport-serial";

/** Containers in real VMs: QEMU, a guest built from the host's own files, and the Kata agent protocol over a virtio-serial port. */
export default definePreset({
  name: "qemu",
  plugins: [hypervisorQemu(), guestLinux(), transportSerial(), agentGrpc(), stateFs(), rootfsDir(), rootfsBlock()],
  slots: { hypervisor: "qemu", guest: "linux", transport: "serial", agent: "grpc", stateStore: "fs", rootfs: "dir" },
});
