/** Makes dist/ anew: compiled modules with types and source maps, the guest agent's bundle and other files that are not TypeScript. */
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(fileURLToPath(import.meta.url), "../..");
const dist = join(root, "dist");

rmSync(dist, { recursive: true, force: true });
npmRun("build:proto");
npmRun("build:agent");
run(join(root, "node_modules/.bin/tsc"), ["-p", "tsconfig.build.json"]);
for (const file of assets()) cpSync(join(root, file), join(dist, file));
chmodSync(join(dist, "src/cli/main.js"), 0o755);

/** Files below src/ and plugins/ that are needed at run time and that tsc does not write. */
function assets(): string[] {
  return ["src", "plugins"].flatMap((area) =>
    readdirSync(join(root, area), { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile() && !/(\.ts|\.proto|README\.md)$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1)),
  );
}

function npmRun(script: string): void {
  run("npm", ["run", "--silent", script]);
}

function run(program: string, args: readonly string[]): void {
  const { status, error } = spawnSync(program, [...args], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
