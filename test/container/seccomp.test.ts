import * as assert from "uvu/assert";
import { defaultSeccomp } from "../../src/container/seccomp/default-profile.ts";
import { BY_CAPABILITY } from "../../src/container/seccomp/syscalls.ts";
import { suite } from "../support/suite.ts";

const s = suite("the default seccomp profile");

/** What a profile says of a call whose arguments are these, as the kernel finds it: the first rule that matches, else the default. */
function verdict(profile: ReturnType<typeof defaultSeccomp>, name: string, args: readonly number[] = []): string {
  const holds = ({ index, value, valueTwo = 0, op }: { index: number; value: number; valueTwo?: number; op: string }) => {
    const given = args[index] ?? 0;
    const tests: Record<string, boolean> = {
      SCMP_CMP_LT: given < value,
      SCMP_CMP_EQ: given === value,
      SCMP_CMP_GT: given > value,
      SCMP_CMP_MASKED_EQ: Number(BigInt(given) & BigInt(value)) === valueTwo,
    };
    return tests[op] ?? assert.unreachable(op);
  };
  const rule = profile.syscalls?.find((each) => each.names.includes(name) && (each.args ?? []).every(holds));
  return rule ? `${rule.action}${rule.errnoRet ?? ""}` : profile.defaultAction;
}

const ALLOW = "SCMP_ACT_ALLOW";
const REFUSE = "SCMP_ACT_ERRNO";

s.test("what opens a way out, or much of the kernel, is refused, whatever the capabilities", () => {
  const profiles = [defaultSeccomp([], "x64"), defaultSeccomp(Object.keys(BY_CAPABILITY), "x64"), defaultSeccomp([], "arm64")];
  for (const profile of profiles) {
    for (const name of "keyctl add_key request_key userfaultfd kexec_load kexec_file_load swapon swapoff io_uring_setup nfsservctl uselib".split(
      " ",
    )) {
      assert.is(verdict(profile, name), REFUSE, name);
    }
    for (const [family, allowed] of [
      [1, ALLOW],
      [2, ALLOW],
      [10, ALLOW],
      [16, ALLOW],
      [38, REFUSE],
      [39, ALLOW],
      [40, REFUSE],
      [41, ALLOW],
    ] as const) {
      assert.is(verdict(profile, "socket", [family]), allowed, `socket of family ${family}`);
    }
    assert.is(verdict(profile, "personality", [0x0040000]), REFUSE);
    assert.is(verdict(profile, "personality", [0]), ALLOW);
  }
});

s.test("what a capability is for is allowed with it, and only then", () => {
  for (const [capability, names] of Object.entries(BY_CAPABILITY)) {
    for (const name of names.filter((each) => each !== "clone" && each !== "clone3")) {
      assert.is(verdict(defaultSeccomp([], "x64"), name), REFUSE, name);
      assert.is(verdict(defaultSeccomp([capability], "x64"), name), ALLOW, `${name} with ${capability}`);
    }
  }
});

s.test("a process makes threads and children, but no namespaces without CAP_SYS_ADMIN", () => {
  const profile = defaultSeccomp(["CAP_KILL"], "x64");
  const THREAD = 0x3d0f00;
  const FORK = 0x1200011;
  assert.is(verdict(profile, "clone", [THREAD]), ALLOW);
  assert.is(verdict(profile, "clone", [FORK]), ALLOW);
  for (const flag of [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]) {
    assert.is(verdict(profile, "clone", [FORK | flag]), REFUSE, flag.toString(16));
  }
  assert.is(verdict(profile, "clone3"), "SCMP_ACT_ERRNO38");
  const admin = defaultSeccomp(["CAP_SYS_ADMIN"], "x64");
  assert.is(verdict(admin, "clone3"), ALLOW);
  assert.is(verdict(admin, "clone", [0x10000000]), ALLOW);
});

s.test("the kernel's other ways in are named, so that a 32-bit program is not killed", () => {
  assert.equal(defaultSeccomp([], "x64").architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
  assert.equal(defaultSeccomp([], "arm64").architectures, ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
});

s.run();
