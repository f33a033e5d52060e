// A process in the guest is a pair of streams: what goes in comes out, at the speed of the slowest.
import { createHash, randomBytes } from "node:crypto";
import { createEngine } from "tapvisor";

const rootfs = `${import.meta.dirname}/rootfs`;
await using engine = await createEngine();
await using sandbox = await engine.runSandbox();
const sum = await sandbox.run({ rootfs, command: ["sha256sum"] });

const input = randomBytes(1024 * 1024);
sum.stdin.end(input);
const inside = (await sum.stdout.text()).split(" ")[0];
const outside = createHash("sha256").update(input).digest("hex");
console.log(inside === outside ? "the guest got every byte" : `the guest got something else: ${inside}`);
process.exitCode = inside === outside ? 0 : 1;
