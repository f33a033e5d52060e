// Several containers share one virtual machine; what one of them writes to its root file system stays its own.
import { createEngine } from "tapvisor";

const rootfs = `${import.meta.dirname}/rootfs`;
await using engine = await createEngine();
await using sandbox = await engine.runSandbox({ id: "pod" });
const containers = await Promise.all(
  ["red", "green", "blue"].map((id) =>
    sandbox.run({ id, rootfs, command: ["sh", "-c", `echo ${id} > /colour; cat /colour; ls / | wc -l`] }),
  ),
);
for (const container of containers) {
  const output = await container.stdout.text();
  console.log(`${container.id}: ${output.trim().replace("\n", ", entries in /: ")}, exit code ${(await container.wait()).exitCode}`);
}
