import { crashScene } from "../support/crash-scene.ts";
import { survivesCrashes } from "../support/detached-crashes.ts";
import { around } from "../support/moments.ts";
import { suite } from "../support/suite.ts";

const s = suite("kill -9 of a script that creates a container in a detached sandbox on real QEMU");
const scene = await crashScene();

const STEPS = [
  "record",
  "prepare-rootfs",
  "attach-share",
  "attach-devices",
  "plug-resources",
  "create-guest-container",
  "run-hooks",
  "commit",
];
const CRASHES = [
  ...around(STEPS).map((moment) => ({ verb: "create container", moment }) as const),
  // Inside a step: half way, and with all its effect while the record does not know yet.
  ...[10, 40].map((afterMs) => ({ verb: "create container", moment: "before hypervisor.share.acquire", afterMs }) as const),
  ...[5, 40].map((afterMs) => ({ verb: "create container", moment: "before agent.createContainer", afterMs }) as const),
  ...["hypervisor.share.acquire", "hypervisor.disk.acquire", "hypervisor.resizeMemory", "agent.syncResources", "agent.createContainer"].map(
    (call) => ({ verb: "create container", moment: `after ${call}` }) as const,
  ),
];

s.test(
  "a detached sandbox survives scripts that die in every step of a creation: the next one finds the VM as it was before them",
  async () => {
    await survivesCrashes(scene, CRASHES);
    await scene[Symbol.asyncDispose]();
    console.log(`${CRASHES.length} scripts killed on real QEMU, their VM running on`);
  },
  { timeoutMs: 590_000 },
);

s.run();
