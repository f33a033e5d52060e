import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createEngine } from "tapvisor";
import { presetFake } from "tapvisor/plugins/preset-fake";
import { stateFs } from "tapvisor/plugins/state-fs";
import { FakeWorld } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";

const s = suite("state-fs beside virtcontainers");

/** What virtcontainers keeps below /run/vc and /var/lib/vc of a sandbox "box" with a container "web". */
const UPSTREAM = [
  ...["sbs/box/state.json", "sbs/box/devices.json", "sbs/box/lock", "sbs/box/config.json"],
  ...["sbs/box/web/state.json", "sbs/box/web/config.json", "vm/box/qmp.sock", "vm/template/memory"],
];

async function filesBelow(root: string): Promise<Record<string, string>> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const texts = await Promise.all(paths.map((path) => readFile(path, "utf8")));
  return Object.fromEntries(paths.map((path, index) => [path.slice(root.length + 1), texts[index] ?? ""]));
}

s.test(
  "records lie in a root of one's choice as plain JSON, and what virtcontainers keeps there of the same ids is neither read nor changed",
  async () => {
    await using directory = await tempDirectory();
    const root = join(directory.path, "vc");
    for (const path of UPSTREAM) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), `upstream's ${path}`);
    }
    const before = await filesBelow(root);
    const options = { preset: presetFake({ world: new FakeWorld() }), root, plugins: [stateFs()], config: { slots: { stateStore: "fs" } } };
    await using engine = await createEngine(options);
    const sandbox = await engine.runSandbox({ id: "box" });
    await mkdir(join(directory.path, "rootfs"));
    await sandbox.run({ id: "web", rootfs: join(directory.path, "rootfs"), command: ["sleep", "60"] });

    const now = await filesBelow(root);
    const ours = Object.keys(now).filter((path) => !(path in before));
    const record = ours.find((path) => path.endsWith("/box.json"));
    assert.ok(record, ours.join());
    const { format, version, record: box } = JSON.parse(now[record] ?? "") as Record<string, unknown>;
    assert.equal([format, typeof version], ["tapvisor-state", "number"]);
    const { id, state, containers } = box as { id: string; state: string; containers: Record<string, { state: string }> };
    assert.equal([id, state, containers.web?.state], ["box", "running", "running"]);
    assert.ok(
      ours.every((path) => !path.startsWith("sbs/") && !path.startsWith("vm/")),
      ours.join(),
    );

    assert.equal(
      (await engine.list()).map((each) => each.id),
      ["box"],
    );
    await sandbox.stop();
    await sandbox.delete();
    assert.equal(await engine.gc(), { collected: [], kept: [], failed: [], corrupt: [] });
    assert.equal(await filesBelow(root), before);
  },
);

s.run();
