/**
 * A script that dies by SIGKILL at a moment. Its argument is a JSON `Crash`; it prints `survived` and ends with code 3 when the moment does
 * not come.
 */
import { dirname, join } from "node:path";
import { createEngine, type Engine, type Sandbox } from "tapvisor";
import { type Moment, Moments } from "./moments.ts";

export type CrashVerb =
  | "create sandbox"
  | "build template"
  | "stop sandbox"
  | "create container"
  | "start container"
  | "update container"
  | "stop container"
  | "delete container";

export interface Crash {
  readonly root: string;
  readonly rootfs: string;
  readonly verb: CrashVerb;
  readonly moment: Moment;
  /** The script dies so long after the moment; 0 by default. */
  readonly afterMs?: number;
  /** Where its templates are kept; without it its sandboxes boot. */
  readonly templates?: string;
  /** A sandbox of another process that it attaches to; otherwise it makes its own, `box`. */
  readonly attach?: string;
}

const crash = JSON.parse(process.argv[2] ?? "") as Crash;
const moments = new Moments();
const engine = await createEngine({
  root: crash.root,
  plugins: moments.plugins,
  probe: moments.probe,
  templates: crash.templates === undefined ? false : { directory: crash.templates },
});
const image = join(dirname(crash.rootfs), "disk.img");
const web = {
  id: "web",
  rootfs: crash.rootfs,
  command: ["sleep", "600"],
  resources: { vcpus: 1, memory: "128MiB" },
  devices: [{ path: image, target: "/dev/data" }],
};

async function run(engine: Engine): Promise<void> {
  if (crash.verb === "build template") return dying(() => engine.buildTemplate());
  if (crash.verb === "create sandbox") return dying(() => engine.createSandbox({ id: "box" }));
  const sandbox = crash.attach === undefined ? await engine.runSandbox({ id: "box" }) : await engine.sandbox(crash.attach);
  await VERBS[crash.verb](sandbox);
}

const VERBS: Readonly<Record<Exclude<CrashVerb, "create sandbox" | "build template">, (sandbox: Sandbox) => Promise<void>>> = {
  "create container": (sandbox) => dying(() => sandbox.createContainer(web)),
  async "start container"(sandbox) {
    const container = await sandbox.createContainer(web);
    await dying(() => container.start());
  },
  async "update container"(sandbox) {
    const container = await sandbox.run(web);
    await dying(() => container.update({ vcpus: 2, memory: "256MiB" }));
  },
  async "stop container"(sandbox) {
    const container = await sandbox.run(web);
    await dying(() => container.stop({ timeoutMs: 100 }));
  },
  async "delete container"(sandbox) {
    const container = await sandbox.createContainer(web);
    await dying(() => container.delete());
  },
  async "stop sandbox"(sandbox) {
    await sandbox.createContainer(web);
    await dying(() => sandbox.stop());
  },
};

async function dying(work: () => Promise<unknown>): Promise<void> {
  const die = () => void process.kill(process.pid, "SIGKILL");
  moments.arm(crash.moment, () => {
    if (crash.afterMs) setTimeout(die, crash.afterMs);
    else {
      die();
      return new Promise(() => {}); // the kernel takes a moment
    }
  });
  await work();
}

await run(engine);
console.log("survived");
process.exit(3);
