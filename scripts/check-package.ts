/** Packs the built package, installs it somewhere else, and uses it there as a stranger would. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(fileURLToPath(import.meta.url), "../..");
const bin = (name: string) => join(root, "node_modules", ".bin", name);
const work = mkdtempSync(join(tmpdir(), "tv-package-"));
try {
  checkPackage();
} finally {
  rmSync(work, { recursive: true, force: true });
}

function checkPackage(): void {
  const tarball = step("npm pack", () => pack());
  step("publint", () => run(bin("publint"), [tarball, "--strict"]));
  step("are the types wrong", () => run(bin("attw"), [tarball, "--profile", "esm-only", "--no-emoji"]));
  const consumer = join(work, "consumer");
  step("install elsewhere", () => install(consumer, tarball));
  step("import every public name", () => importAll(consumer));
  step("types resolve", () => compile(consumer));
  step("the installed program", () => useProgram(consumer));
}

function pack(): string {
  const listed = JSON.parse(run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", work], root)) as readonly {
    filename: string;
  }[];
  const [packed] = listed;
  if (!packed) throw new Error("npm pack made nothing");
  return join(work, packed.filename);
}

function install(consumer: string, tarball: string): void {
  mkdirSync(consumer);
  writeFileSync(join(consumer, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }));
  run("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts", tarball], consumer);
}

function publicNames(): string[] {
  const plugins = readdirSync(join(root, "plugins"), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return ["tapvisor", "tapvisor/plugin", "tapvisor/protocol", "tapvisor/testing", ...plugins.map(({ name }) => `tapvisor/plugins/${name}`)];
}

function importAll(consumer: string): void {
  const code = publicNames().map(
    (name) => `if (Object.keys(await import("${name}")).length === 0) throw new Error("${name} exports nothing");`,
  );
  writeFileSync(join(consumer, "import.js"), code.join("\n"));
  run(process.execPath, ["import.js"], consumer);
}

function compile(consumer: string): void {
  const code = [
    'import { createEngine, type Engine } from "tapvisor";',
    'import { definePlugin, type PluginContext } from "tapvisor/plugin";',
    ...publicNames().map((name, index) => `import * as module${index} from "${name}";`),
    'export const quiet = definePlugin<{ max: number }>("quiet", (context: PluginContext, options) => context.log.info(options.max));',
    "export const engine: Engine = await createEngine({ plugins: [quiet({ max: 2 })] });",
    "// @ts-expect-error unresolved types would be `any`, which takes everything",
    'export const wrong = quiet({ max: "two" });',
    "// @ts-expect-error as above",
    "await createEngine({ preset: 5 });",
    `export const modules = [${publicNames().map((_, index) => `module${index}`)}];`,
  ];
  writeFileSync(join(consumer, "consumer.ts"), code.join("\n"));
  const options = { module: "nodenext", target: "es2022", lib: ["es2023", "esnext.disposable"], strict: true, noEmit: true, types: [] };
  writeFileSync(
    join(consumer, "tsconfig.json"),
    JSON.stringify({ compilerOptions: { ...options, skipLibCheck: true }, files: ["consumer.ts"] }),
  );
  run(bin("tsc"), ["-p", "."], consumer);
}

function useProgram(consumer: string): void {
  expect(run("npx", ["--no-install", "tapvisor", "--help"], consumer), "tapvisor run");
  const elsewhere = join(work, "elsewhere");
  mkdirSync(elsewhere);
  const script = join(elsewhere, "script.ts");
  writeFileSync(
    script,
    'import { createEngine } from "tapvisor";\nconst word: string = await Promise.resolve(typeof createEngine);\nconsole.log(word, process.argv[2]);\n',
  );
  expect(run(join(consumer, "node_modules/.bin/tapvisor"), ["run", script, "--mine"], elsewhere), "function --mine");
}

function step<T>(title: string, work: () => T): T {
  process.stdout.write(`package: ${title} … `);
  const result = work();
  console.log("ok");
  return result;
}

function expect(output: string, wanted: string): void {
  if (!output.includes(wanted)) throw new Error(`Cannot find "${wanted}" in the output: ${output}`);
}

function run(program: string, args: readonly string[], cwd = work): string {
  try {
    return execFileSync(program, [...args], { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], timeout: 10 * 60_000 });
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    throw new Error(`${program} ${args.join(" ")} failed\n${stdout}\n${stderr}`);
  }
}
