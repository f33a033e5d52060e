import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type EngineConfig, isTapvisorError, type Plugin } from "tapvisor";
import { API_VERSION } from "tapvisor/plugin";
import { sharedFakeWorld } from "tapvisor/testing";
import * as assert from "uvu/assert";
import { parseConfig } from "../../src/config/engine-config.ts";
import { cli } from "../support/cli.ts";
import { rejects } from "../support/rejects.ts";
import { suite } from "../support/suite.ts";
import { checkTypes } from "./support/check-types.ts";
import { documentSnippets, examplesOf, isModule, type Snippet, snippetsOf, sourceExamples } from "./support/find-snippets.ts";
import { fakeEngineWith, runModule, scene, writeModule } from "./support/run-snippet.ts";

const s = suite("the code in the documentation");
const documents = documentSnippets();
const code = documents.filter(({ language }) => language === "ts");
const examples = sourceExamples();
const GUIDE = readFileSync("docs/plugins.md", "utf8");
const place = ({ file, line }: Snippet) => `${file}:${line}`;

s.test(
  "every TypeScript block and every @example has the types of the package's public names",
  async () => {
    assert.ok(code.length >= 15 && examples.length >= 10, `${code.length} blocks, ${examples.length} examples`);
    assert.equal(await checkTypes([...code, ...examples]), []);
  },
  { timeoutMs: 120_000 },
);

s.test(
  "what does not type-check is found, with its line in the document",
  async () => {
    const whole = '```ts\nimport { createEngine } from "tapvisor";\n\nawait createEngine({ rot: "" });\n```';
    const fragment = "Text.\n\n```ts\nconst made = await engine.createSandbox({ vcpus: 1 });\nmade.sart();\n```";
    const unknown = '```ts\nimport { FakeWorld } from "tapvisor/testing";\nconst world = new FakeWorld();\nassert.ok(world);\n```';
    const example = "/**\n * Text.\n *\n * @example\n * export const x = definePlugin(5);\n * @throws nothing\n */";
    const complaints = await checkTypes([
      ...snippetsOf("a.md", whole),
      ...snippetsOf("b.md", fragment),
      ...snippetsOf("c.md", unknown),
      ...examplesOf("d.ts", example),
    ]);
    const places = complaints.map((each) => each.split(" error ")[0]);
    for (const wanted of ["a.md:4:", "b.md:5:", "c.md:4:", "d.ts:5:"]) assert.ok(places.includes(wanted), `${wanted} in ${complaints}`);
  },
  { timeoutMs: 120_000 },
);

/** How a configuration uses the plugins that the documents define, where it says more than their name. */
const USES: Readonly<Record<string, { readonly options?: Record<string, unknown>; readonly slots?: EngineConfig["slots"] }>> = {
  "share-cap": { options: { max: 1 } },
  "timed-starts": { options: { over: "fake" }, slots: { hypervisor: "timed" } },
  "rootfs-leased": { slots: { rootfs: "leased" } },
};

for (const [index, snippet] of code.filter(isModule).entries()) {
  if (snippet.notRun) {
    s.skip(`${place(snippet)} runs`, snippet.notRun);
    continue;
  }
  s.test(`${place(snippet)} runs on the fakes and leaves nothing`, async () => {
    await using at = await scene();
    const path = await writeModule(snippet, at.path, `snippet-${index}.mts`);
    const plugin = (await runModule(path)).default;
    if (typeof plugin === "function") await runContainerWith(path, plugin as (options: object) => Plugin);
    assert.equal(sharedFakeWorld().snapshot().vms, []);
  });
}

/** Loads a plugin as a configuration does, and runs a container under it. */
async function runContainerWith(path: string, plugin: (options: object) => Plugin): Promise<void> {
  const { options, slots = {} } = USES[plugin({}).name] ?? {};
  await using engine = await fakeEngineWith({ plugins: [options ? [path, options] : path], slots });
  await using sandbox = await engine.runSandbox();
  const container = await sandbox.run({ rootfs: "./rootfs", command: ["true"] });
  assert.is((await container.wait()).exitCode, 0);
}

s.test("README's plugin vetoes as README says", async () => {
  const [snippet] = code.filter(({ file, text }) => file === "README.md" && text.includes("share-cap"));
  if (!snippet) throw new Error("README.md has no plugin share-cap");
  await using at = await scene();
  const path = await writeModule(snippet, at.path, "share-cap.mts");
  await using engine = await fakeEngineWith({ plugins: [[path, { max: 1 }]] });
  await using sandbox = await engine.runSandbox();
  const mounts = [{ source: "./data", target: "/data" }];
  const error = await rejects(sandbox.run({ rootfs: "./rootfs", command: ["true"], mounts }), "HOOK_FAILED");
  assert.match(error.message, "more than 1 host directories");
});

s.test("README's script runs unmodified by `tapvisor run`, and prints the greeting", async () => {
  const [snippet] = code.filter(({ file }) => file === "README.md");
  if (!snippet) throw new Error("README.md has no script");
  await using at = await scene();
  const programs = join(import.meta.dirname, "support/fake-programs.ts");
  await writeFile("tapvisor.config.json5", JSON.stringify({ preset: "fake", root: "root", plugins: [programs] }));
  await writeFile("script.ts", snippet.text);
  const { exitCode, stdout, stderr } = await cli(["run", "script.ts"], { cwd: at.path });
  assert.equal([exitCode, stdout, stderr], [0, "Linux of the fake world\nhello from the host\n", ""]);
});

s.test("a block that says why it does not run is known by it, and no other is", () => {
  const found = snippetsOf("a.md", "<!-- does not run on the fakes: needs KVM -->\n```ts\n1;\n```\n\n```ts\n2;\n```");
  assert.equal(
    found.map(({ line, notRun }) => [line, notRun]),
    [
      [3, "needs KVM"],
      [7, undefined],
    ],
  );
});

for (const snippet of documents.filter(({ language }) => language === "json5")) {
  s.test(`${place(snippet)} is a configuration that the engine takes`, () => {
    parseConfig(place(snippet), snippet.text);
  });
}

s.test("a configuration that the engine does not take is found", () => {
  const [snippet] = snippetsOf("a.md", "```json5\n{ presets: 'fake' }\n```");
  try {
    parseConfig("a.md", snippet?.text ?? "");
  } catch (error) {
    assert.is(isTapvisorError(error) && error.code, "INVALID_CONFIG");
    return;
  }
  throw new Error("it was taken");
});

s.test("docs/plugins.md's package.json makes a package that a configuration loads by its name", async () => {
  const [manifest] = documents.filter(({ language }) => language === "json");
  const { name, exports, peerDependencies } = JSON.parse(manifest?.text ?? "");
  assert.is(peerDependencies.tapvisor, `^${JSON.parse(readFileSync("package.json", "utf8")).version}`);
  assert.match(GUIDE, `(now ${API_VERSION})`);
  await using at = await scene();
  const folder = join(at.path, "node_modules", name);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "package.json"), manifest?.text ?? "");
  const tap = "ctx.hooks.onRollback.tapPromise(async () => {})";
  const plugin = `import { definePlugin } from "tapvisor/plugin";\nexport default definePlugin("share-cap", (ctx) => ${tap});\n`;
  await writeFile(join(folder, exports), plugin);
  await writeFile("tapvisor.config.json5", JSON.stringify({ preset: "fake", root: "root", plugins: [name] }));
  const { exitCode, stdout, stderr } = await cli(["hooks"], { cwd: at.path });
  assert.equal([exitCode, stderr], [0, ""]);
  assert.match(stdout, /onRollback +share-cap/);
});

s.run();
