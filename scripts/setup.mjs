/**
 * All the set-up of a fresh clone, each step only when it is due: npm dependencies, build, Debian packages, guest image, and the root
 * file system of the examples.
 * Plain JavaScript with nothing but Node: it runs before anything is installed.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const stamps = join(root, "node_modules", ".cache", "tapvisor");
const cli = "dist/src/cli/main.js";

checkNode();
if (!dependenciesAreThere()) {
  console.error("set-up: npm ci");
  run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
}
step({
  name: "build",
  title: "npm run build",
  inputs: ["package-lock.json", "package.json", "tsconfig.json", "tsconfig.build.json", "scripts", "src", "plugins"],
  result: cli,
  work: () => run("npm", ["run", "--silent", "build"]),
});
// Debian packages and the guest: it looks itself at what is missing, and does nothing when nothing is.
run(process.execPath, [cli, "setup", "--yes"]);
step({
  name: "examples-rootfs",
  title: "root file system of the examples",
  inputs: ["scripts/example-rootfs.ts"],
  result: "examples/rootfs",
  work: () => run(process.execPath, ["--import", "tsx", "scripts/example-rootfs.ts"]),
});

if (process.argv.includes("--tests")) {
  ensureProgram("mke2fs", "e2fsprogs"); // file systems on disk images
  ensureProgram("tmux", "tmux"); // a terminal to type in and to look at
}

/** Installs the Debian package of a program that is not there, as root or through sudo. */
function ensureProgram(program, debianPackage) {
  const places = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];
  if (places.some((place) => existsSync(join(place, program)))) return;
  console.error(`set-up: ${debianPackage}`);
  const sudo = process.getuid() === 0 ? [] : ["sudo", "-n"];
  const [apt, ...args] = [
    ...sudo,
    "env",
    "DEBIAN_FRONTEND=noninteractive",
    "apt-get",
    "install",
    "-y",
    "--no-install-recommends",
    debianPackage,
  ];
  run(apt, args);
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  fail(`Node ${process.versions.node} is too old: wanted 20.19 or later, see https://nodejs.org/en/download`);
}

/** npm notes in node_modules what it put there: without it, or with another version of a package, the lock file is not met. */
function dependenciesAreThere() {
  const installed = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(installed)) return false;
  const [wanted, found] = ["package-lock.json", installed].map((file) => JSON.parse(readFileSync(resolve(root, file), "utf8")).packages);
  return Object.entries(wanted).every(([path, { version, optional }]) => path === "" || optional || found[path]?.version === version);
}

/** Runs `work` unless it ran before with the same inputs and its result is still there. */
function step({ name, title, inputs, result, work }) {
  const stamp = join(stamps, name);
  const wanted = hashOf(inputs);
  if (existsSync(join(root, result)) && existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  console.error(`set-up: ${title}`);
  work();
  mkdirSync(stamps, { recursive: true });
  writeFileSync(stamp, hashOf(inputs)); // anew: a build may write sources of its own
}

function hashOf(paths) {
  const hash = createHash("sha256").update(process.version);
  for (const path of paths.flatMap(filesOf))
    hash
      .update(path)
      .update("\0")
      .update(readFileSync(join(root, path)))
      .update("\0");
  return hash.digest("hex");
}

/** The file itself, or all below a directory, but for what the build itself writes. */
function filesOf(path) {
  const found = [path];
  if (!/\.[a-z]+$/.test(path)) {
    const entries = readdirSync(join(root, path), { withFileTypes: true, recursive: true });
    found.splice(
      0,
      1,
      ...entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1)),
    );
  }
  return found.filter((file) => !file.includes(".bundle.")).sort();
}

function run(program, args) {
  const { status, error } = spawnSync(program, args, { cwd: root, stdio: ["inherit", 2, 2] });
  if (error) fail(`cannot run ${program}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

function fail(message) {
  console.error(`set-up: ${message}`);
  process.exit(1);
}
