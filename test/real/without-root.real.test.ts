import { spawn, spawnSync } from "node:child_process";
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { makeExampleRootfs } from "../../scripts/example-rootfs.ts";
import { suite } from "../support/suite.ts";

const s = suite("a script that does not run as root");
/** `nobody`, who owns nothing. */
const NOBODY = 65534;

const SCRIPT = `
import { createEngine, isTapvisorError } from "tapvisor";
await using engine = await createEngine();
await using sandbox = await engine.runSandbox();
const { origin } = await sandbox.status();
console.log(origin.from, origin.memory);
const options = { rootfs: process.argv[2], command: ["sh", "-c", "id -u; echo changed > /etc/passwd; cat /etc/passwd; nproc"], resources: { vcpus: 1 } };
const container = await sandbox.run(options);
console.log((await container.stdout.text()).trim().split("\\n").join(" "), (await container.wait()).exitCode);
const error = await sandbox.run({ ...options, mounts: [{ source: process.argv[2], target: "/x" }] }).catch((thrown) => thrown);
console.log(isTapvisorError(error) && error.code);
`;

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const TITLE = "goes on from a template and runs a container on a copy of a directory as a disk; what would need root is refused";

/** Whether somebody else can read this checkout at all. */
function isReadable(): boolean {
  const { status } = spawnSync(process.execPath, ["-e", `require("node:fs").readFileSync(${JSON.stringify(MAIN)})`], {
    uid: NOBODY,
    gid: NOBODY,
  });
  return status === 0;
}

if (process.getuid?.() !== 0) s.skip(TITLE, "only root can become somebody else");
else if (!isReadable()) s.skip(TITLE, "the checkout cannot be read by others");
else s.test(TITLE, runsAsNobody, { timeoutMs: 240_000 });

async function runsAsNobody(): Promise<void> {
  // Not below the suite's own directory, which nobody else can enter.
  const directory = await mkdtemp("/tmp/tv-nobody-");
  try {
    await chmod(directory, 0o755);
    const own = join(directory, "own");
    await mkdir(own);
    await chown(own, NOBODY, NOBODY);
    const rootfs = join(directory, "rootfs");
    makeExampleRootfs(rootfs);
    const script = join(directory, "script.mts");
    await writeFile(script, SCRIPT);
    const env = {
      ...process.env,
      HOME: own,
      TMPDIR: own,
      TAPVISOR_ROOT: join(own, "root"),
      TAPVISOR_CACHE: join(own, "cache"),
      TAPVISOR_TEMPLATES: join(own, "templates"),
    };
    const child = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), MAIN, "run", script, rootfs], {
      cwd: own,
      env,
      uid: NOBODY,
      gid: NOBODY,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
    const [stdout, stderr, exitCode] = await Promise.all([text(child.stdout), text(child.stderr), closed]);
    assert.is(exitCode, 0, stderr);
    assert.is(stdout, "template shared\n0 changed 2 0\nUNSUPPORTED\n");
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

s.run();
