import { stat } from "node:fs/promises";
import * as assert from "uvu/assert";
import { acceleratorFor } from "../../../plugins/hypervisor-qemu/accelerator-for.ts";
import { resolveOptions } from "../../../plugins/hypervisor-qemu/options.ts";
import { confined } from "../../../plugins/hypervisor-qemu/process.ts";
import { findUser } from "../../../plugins/hypervisor-qemu/user.ts";
import { suite } from "../../support/suite.ts";
import { refusal } from "./support/refusal.ts";
import { USER } from "./support/user-world.ts";
import { call, qemu, world } from "./support/world.ts";

const s = suite("hypervisor-qemu option user");
const isRoot = process.geteuid?.() === 0;
const rootTest: typeof s.test = isRoot ? s.test : (title) => s.skip(title, "becoming another user needs root");

const fieldOf = ({ code, data }: { code: string; data: unknown }) => [code, (data as { path?: string }).path];

s.test("what can be neither a name nor a uid is refused when the plugin loads", async () => {
  for (const user of ["", "a b", "-x", "--help", "a\nb", -1, 1.5, 2 ** 32, true, {}]) {
    assert.equal(fieldOf(await refusal(qemu({ user: user as string }))), ["INVALID_INPUT", "hypervisor-qemu.user"]);
  }
  assert.equal(
    [resolveOptions({ user: 65534 }).user, resolveOptions({ user: "nobody" }).user, resolveOptions({}).user],
    ["65534", "nobody", undefined],
  );
});

rootTest("a user that is not there, and root by any name, are refused when a VM starts, and doctor says so", async () => {
  await using w = await world();
  for (const user of ["tapvisor-nobody-has-this-name", 4_123_456_789, "root", 0]) {
    const hypervisor = await qemu({ accelerator: "tcg", user });
    assert.equal(fieldOf(await refusal(hypervisor.holdings.vm.acquire(w.intent, call()))), ["INVALID_INPUT", "hypervisor-qemu.user"]);
    const finding = (await hypervisor.inspectHost(call())).find(({ check }) => check === "user of QEMU");
    assert.is(finding?.level, "missing");
  }
  const finding = (await (await qemu({ user: USER })).inspectHost(call())).find(({ check }) => check === "user of QEMU");
  assert.equal([finding?.level, finding?.found], ["ok", "daemon (1), group daemon (1)"]);
});

rootTest("a user is found by name and by uid", async () => {
  const user = { uid: 1, name: "daemon", gid: 1, group: "daemon" };
  assert.equal([await findUser({ user: "daemon" }, call()), await findUser({ user: "1" }, call())], [user, user]);
  assert.is(await findUser({}, call()), undefined);
});

s.test("without root the option is UNSUPPORTED", async () => {
  const { geteuid } = process;
  process.geteuid = () => 1000;
  try {
    assert.is((await refusal(findUser({ user: USER }, call()))).code, "UNSUPPORTED");
  } finally {
    if (geteuid) process.geteuid = geteuid;
  }
});

rootTest("KVM that the user may not open is HOST_MISSING when asked for, and TCG otherwise", async () => {
  const user = await findUser({ user: USER }, call());
  const open = await stat("/dev/kvm").then(
    ({ mode }) => (mode & 0o006) !== 0,
    () => false,
  );
  if (open) assert.is((await acceleratorFor("kvm", user, call())).name, "kvm");
  else {
    assert.is((await refusal(acceleratorFor("kvm", user, call()))).code, "HOST_MISSING");
    assert.is((await acceleratorFor("auto", user, call())).name, "tcg");
  }
});

const USER_OF_QEMU = { uid: 1, name: "daemon", gid: 2, group: "two" };
const BECOME = ["setpriv", "--reuid", "1", "--regid", "2", "--clear-groups", "--inh-caps=-all", "--no-new-privs"];
const ENTER = ["sh", "-ec", 'cd "$1"; shift; exec "$@"', "sh", "/run/box"];
const CORELESS = ["sh", "-c", 'ulimit -c 0; exec "$@"', "sh", "qemu", "-x"];

s.test("golden: the user is changed first, then the end with the parent is armed, then the parent is looked for", () => {
  const as = { user: USER_OF_QEMU, directory: "/run/box" };
  assert.equal(confined(["qemu", "-x"], { detached: true }, as), [...ENTER, ...BECOME, ...CORELESS]);
  assert.equal(confined(["qemu", "-x"], { detached: false }, as), [
    ...ENTER,
    ...BECOME,
    ...["setpriv", "--pdeathsig", "KILL", "sh", "-c", 'ulimit -c 0; [ "$PPID" = "$1" ] || exit 125; shift; exec "$@"'],
    ...["sh", String(process.pid), "qemu", "-x"],
  ]);
});

s.run();
