import { chmod, writeFile } from "node:fs/promises";

/**
 * A stand-in for the OCI runtime that runs the command of a bundle as an ordinary process: same arguments, log, pid file, signals, cgroup directory and
 * exit code as `crun run` and `crun exec` in the foreground. Commands with a meaning of their own: `nosuch` is not found, `refused` is
 * found and refused by the kernel, `broken` fails in the runtime, `slow-setup` never gets as far as a process.
 */
export async function writeFakeCrun(path: string, cgroups: string): Promise<void> {
  await writeFile(path, `#!${process.execPath}\n${SOURCE.replace("CGROUPS", JSON.stringify(cgroups))}`);
  await chmod(path, 0o755);
}

const SOURCE = String.raw`
const fs = require("node:fs");
const { spawn, spawnSync } = require("node:child_process");
const { constants } = require("node:os");
const args = process.argv.slice(2);
const option = (name) => args[args.indexOf(name) + 1];
const verb = args.find((arg) => ["run", "exec", "delete"].includes(arg));
const id = args.at(-1);
const state = option("--root") + "/" + id;
if (verb === "delete") {
  fs.rmSync(state, { recursive: true, force: true });
  process.exit(0);
}
const fail = (msg) => {
  const line = JSON.stringify({ msg, level: "error", time: "2026-01-01T00:00:00Z" }) + "\n";
  fs.appendFileSync(option("--log"), line);
  process.stderr.write(msg + "\n");
  process.exit(1);
};
const spec = verb === "run" ? JSON.parse(fs.readFileSync(option("--bundle") + "/config.json", "utf8")) : undefined;
const { args: command, env, cwd } = spec ? spec.process : JSON.parse(fs.readFileSync(option("--process"), "utf8"));
if (verb === "run") fs.mkdirSync(state, { recursive: true });
const outer = CGROUPS + "/tapvisor/" + id;
const cgroup = outer + "/container";
if (command[0] === "broken") fail("mount 'proc' to 'proc': Operation not permitted");
if (command[0] === "nosuch" || command[0] === "/is-there") fail("executable file ${"`"}" + command[0] + "${"`"} not found in $PATH: No such file or directory");
if (command[0] === "slow-setup") {
  process.stderr.write("text of the runtime\n");
  setInterval(() => {}, 1000);
} else if (command[0] === "refused") {
  fs.writeFileSync(option("--pid-file"), String(spawnSync("/bin/true").pid));
  process.stderr.write(JSON.stringify({ msg: "exec container process ${"`"}/bin/refused${"`"}: Exec format error", level: "error", time: "x" }) + "\n");
  process.exit(1);
} else {
  fs.mkdirSync(cgroup, { recursive: true });
  fs.writeFileSync(outer + "/cgroup.kill", "");
  const child = spawn(command[0], command.slice(1), { stdio: "inherit", env: Object.fromEntries(env.map((entry) => entry.split("="))), cwd });
  fs.writeFileSync(cgroup + "/cgroup.procs", child.pid + "\n");
  const watcher = fs.watch(outer + "/cgroup.kill", () => fs.readFileSync(outer + "/cgroup.kill", "utf8") === "1" && child.kill("SIGKILL"));
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => {
    watcher.close();
    if (verb === "run") {
      fs.rmSync(cgroup, { recursive: true, force: true });
      fs.rmSync(outer + "/cgroup.kill");
      fs.rmSync(state, { recursive: true, force: true });
    }
    process.exit(code ?? 128 + constants.signals[signal]);
  });
  fs.writeFileSync(option("--pid-file"), String(child.pid));
}
`;
