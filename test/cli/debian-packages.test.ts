import * as assert from "uvu/assert";
import { isTapvisorError } from "../../src/base/errors.ts";
import { findInstaller, installPackages, type RunProgram } from "../../src/cli/debian-packages.ts";
import { suite } from "../support/suite.ts";

/** A machine whose programs fail when their command line has one of the given words. */
function machine(failing: readonly string[]): { run: RunProgram; lines: string[] } {
  const lines: string[] = [];
  const run: RunProgram = async (program, args) => {
    const line = [program, ...args].join(" ");
    lines.push(line);
    if (failing.some((word) => line.includes(word))) throw new Error(`${line}: failed`);
  };
  return { run, lines };
}

async function errorOf(work: Promise<unknown>) {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!isTapvisorError(error)) throw new Error(`wanted an error of the project, got ${String(error)}`);
  return error;
}

const s = suite("Debian packages");

s.test("findInstaller() needs no sudo as root, and uses one that asks nothing for others", async () => {
  assert.equal(await findInstaller(["crun"], machine([]).run, 0), { packages: ["crun"], prefix: [] });
  assert.equal(await findInstaller(["crun"], machine([]).run, 1000), { packages: ["crun"], prefix: ["sudo", "-n"] });
});

s.test("findInstaller() gives the exact command for an administrator when sudo would ask", async () => {
  const error = await errorOf(findInstaller(["crun", "qemu-system-x86"], machine(["sudo"]).run, 1000));
  assert.is(error.code, "HOST_MISSING");
  assert.match(error.hint ?? "", "sudo apt-get update && sudo apt-get install -y --no-install-recommends crun qemu-system-x86");
});

s.test("findInstaller() says so where there is no apt-get", async () => {
  const error = await errorOf(findInstaller(["crun"], machine(["apt-get"]).run, 0));
  assert.match(error.message, "no apt-get");
});

s.test("installPackages() fetches the package lists only when a package is not known", async () => {
  const known = machine([]);
  await installPackages({ packages: ["crun"], prefix: [] }, known.run);
  assert.not.ok(known.lines.some((line) => line.includes("update")));
  assert.match(known.lines.at(-1) ?? "", /^env DEBIAN_FRONTEND=noninteractive apt-get .*install -y --no-install-recommends crun$/);
  const unknown = machine(["apt-cache"]);
  await installPackages({ packages: ["crun"], prefix: ["sudo", "-n"] }, unknown.run);
  assert.equal(
    unknown.lines.slice(1).map((line) => /^sudo -n env .* (update|install) ?/.exec(line)?.[1]),
    ["update", "install"],
  );
});

s.test("installPackages() fetches newer lists when those it has lead to nothing, then reports what apt-get said", async () => {
  const broken = machine(["install"]);
  const error = await errorOf(installPackages({ packages: ["crun"], prefix: [] }, broken.run));
  assert.is(broken.lines.filter((line) => line.includes("install")).length, 2);
  assert.is(broken.lines.filter((line) => line.includes("update")).length, 1);
  assert.match(error.message, "Cannot install crun: apt-get failed");
  assert.match(String(error.cause), "failed");
});

s.run();
