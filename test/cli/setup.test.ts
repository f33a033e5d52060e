import * as assert from "uvu/assert";
import { type AnyTapvisorError, isTapvisorError, TapvisorError } from "../../src/base/errors.ts";
import { CliError } from "../../src/cli/cli-error.ts";
import type { Installer } from "../../src/cli/debian-packages.ts";
import { doctor } from "../../src/cli/doctor.ts";
import type { HostView } from "../../src/cli/host-view.ts";
import { painter } from "../../src/cli/paint.ts";
import { missingPackages, type SetupOptions, setup } from "../../src/cli/setup.ts";
import type { Finding } from "../../src/contracts/finding.ts";
import { suite } from "../support/suite.ts";

const paint = painter({ isTTY: false }, {});
const QEMU: Finding = {
  check: "QEMU",
  level: "missing",
  found: "not installed",
  fix: "apt-get install qemu-system-x86",
  packages: ["qemu-system-x86"],
};
const KVM: Finding = { check: "KVM", level: "degraded", found: "no /dev/kvm", fix: "enable virtualisation in the firmware" };
const CRUN: Finding = { check: "crun", level: "ok", found: "1.8.1" };

/** A host on which installing packages mends the findings that name them; everything done to it is in `log`. */
function host(...findings: Finding[]) {
  const log: string[] = [];
  let present = findings;
  const view: HostView = {
    findings: async () => present,
    prepareGuest: async (onProgress) => {
      onProgress("building the initrd");
      log.push("prepare");
    },
    close: async () => {},
  };
  const options = (more: Partial<SetupOptions> = {}): SetupOptions => ({
    yes: true,
    paint,
    say: (line) => log.push(`say ${line}`),
    findInstaller: async (packages): Promise<Installer> => ({ packages, prefix: [] }),
    installPackages: async ({ packages }) => {
      log.push(`install ${packages}`);
      present = present.filter((finding) => !finding.packages?.some((name) => packages.includes(name)));
    },
    ...more,
  });
  return { view, log, options, did: () => log.filter((line) => !line.startsWith("say ")) };
}

async function refused(work: Promise<unknown>): Promise<CliError | AnyTapvisorError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof CliError || isTapvisorError(error)) return error;
  throw new Error(`wanted a refusal, got ${String(error)}`);
}

const s = suite("setup and doctor");

s.test("setup says what it will do, installs what is missing, then builds the guest", async () => {
  const { view, log, options, did } = host(QEMU, KVM, CRUN);
  assert.is(await setup(view, options()), 0);
  assert.match(log[0] ?? "", "say setup will install the Debian packages qemu-system-x86, and build the guest");
  assert.equal(did(), ["install qemu-system-x86", "prepare"]);
  assert.ok(log.includes("say building the initrd"));
});

s.test("setup installs nothing where nothing is missing", async () => {
  const { view, options, did } = host(KVM, CRUN);
  assert.is(await setup(view, options()), 0);
  assert.equal(did(), ["prepare"]);
});

s.test("setup asks first, and does nothing when the answer is no", async () => {
  const { view, options, did } = host(QEMU);
  const error = await refused(setup(view, options({ yes: false, ask: async () => false })));
  assert.match(error.message, "the answer was no");
  assert.equal(did(), []);
});

s.test("setup refuses where nobody can answer, with the command that asks nothing", async () => {
  const { view, options, did } = host(QEMU);
  const error = await refused(setup(view, options({ yes: false })));
  assert.match(error.hint ?? "", "tapvisor setup --yes");
  assert.match(error.hint ?? "", "install -y --no-install-recommends qemu-system-x86");
  assert.equal(did(), []);
});

s.test("setup fails and names what it could not mend", async () => {
  const { view, log, options, did } = host({ check: "Node", level: "missing", found: "18.0.0", fix: "install Node 20.19 or later" });
  assert.is(await setup(view, options()), 1);
  assert.equal(did(), ["prepare"]);
  assert.ok(log.some((line) => line.includes("fix: install Node 20.19 or later")));
  assert.not.ok(log.some((line) => line.startsWith("say ready")));
});

s.test("setup is ready when building the guest mends what was missing", async () => {
  const { view, options } = host({ check: "guest kernel", level: "missing", found: "none", fix: "tapvisor setup" });
  let built = false;
  const mended: HostView = {
    ...view,
    findings: async () => (built ? [] : view.findings()),
    prepareGuest: async () => {
      built = true;
    },
  };
  assert.is(await setup(mended, options()), 0);
});

s.test("setup passes on the refusal of an unprivileged user", async () => {
  const { view, options, did } = host(QEMU);
  const denied = new TapvisorError("HOST_MISSING", "Cannot install", { data: { what: "qemu-system-x86" } });
  assert.is(await refused(setup(view, options({ findInstaller: () => Promise.reject(denied) }))), denied);
  assert.equal(did(), []);
});

s.test("missingPackages() names each package once, and none of a finding that is only degraded", () => {
  const degraded: Finding = { ...KVM, packages: ["cpu-checker"] };
  assert.equal(missingPackages([QEMU, { ...QEMU, check: "QEMU tools", packages: ["qemu-utils", "qemu-system-x86"] }, degraded]), [
    "qemu-system-x86",
    "qemu-utils",
  ]);
});

s.test("doctor prints each finding with its fix, and fails only when something needed is missing", async () => {
  const look = async (json: boolean, ...findings: Finding[]) => {
    let text = "";
    const write = (more: string) => {
      text += more;
    };
    return { code: await doctor(host(...findings).view, { json, write, paint }), text };
  };
  const bad = await look(false, QEMU, KVM, CRUN);
  assert.is(bad.code, 1);
  assert.match(bad.text, /missing {3}QEMU {2}not installed\n {10}fix: apt-get install qemu-system-x86\n/);
  assert.match(bad.text, "1 needed thing is missing: `tapvisor setup`");
  const good = await look(false, KVM, CRUN);
  assert.is(good.code, 0);
  assert.match(good.text, "fix: enable virtualisation");
  const json = await look(true, QEMU, CRUN);
  assert.equal(JSON.parse(json.text), { ok: false, findings: [QEMU, CRUN] });
  assert.is(json.code, 1);
});

s.run();
