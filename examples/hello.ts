// Boots a virtual machine, runs one container in it, prints what it says, and leaves nothing behind.
import { createEngine } from "tapvisor";

const here = import.meta.dirname;
await using engine = await createEngine();
await using sandbox = await engine.runSandbox({ memory: "512MiB" });
const hello = await sandbox.run({
  rootfs: `${here}/rootfs`,
  command: ["sh", "-c", "uname -a; cat /data/greeting"],
  mounts: [{ source: `${here}/data`, target: "/data", readonly: true }],
});
for await (const line of hello.stdout.lines()) console.log(line);
const { exitCode } = await hello.wait();
console.log(`exit code ${exitCode}`);
process.exitCode = exitCode;
