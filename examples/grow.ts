// A running VM grows for a container, follows an update of its limits, and is as it was when the container has stopped.
import { createEngine } from "tapvisor";

await using engine = await createEngine();
await using sandbox = await engine.runSandbox({ vcpus: 1, memory: "512MiB" });

async function show(when: string) {
  const { granted, confirmed } = await sandbox.resources(); // what the hypervisor has given, and what the guest says
  console.log(`${when}: ${confirmed?.vcpus} vCPUs, ${granted.memoryBytes / 2 ** 20} MiB`);
}

await show("booted");
const rootfs = `${import.meta.dirname}/rootfs`;
const web = await sandbox.run({ rootfs, command: ["sleep", "600"], resources: { vcpus: 2, memory: "256MiB" } });
await show("running");
await web.update({ vcpus: 1, memory: "100MiB" });
await show("updated");
await web.stop({ timeoutMs: 200 });
await show("stopped");
