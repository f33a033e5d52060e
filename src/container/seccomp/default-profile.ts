import type { OciSeccomp, OciSyscallRule } from "../../contracts/oci.ts";
import { ALLOWED_SYSCALLS, BY_CAPABILITY, OF_ARCHITECTURE } from "./syscalls.ts";

const ALLOW = "SCMP_ACT_ALLOW";
const ENOSYS = 38;

/** CLONE_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID and _NEWNET. */
const NAMESPACE_FLAGS = 0x7e020000;

const AF_ALG = 38;
const AF_VSOCK = 40;

/** `PER_LINUX` and `PER_LINUX32`, each also with `UNAME26`, and the question which one it is. */
const PERSONALITIES = [0, 8, 0x20000, 0x20008, 0xffffffff];

/**
 * The profile of a container that names none: what is not on its list fails with EPERM, as if a capability were missing. Refused to everybody are the
 * kernel's keyrings, `userfaultfd`, `io_uring`, `kexec`, swap, and sockets to the VM's host (`AF_VSOCK`) and to the kernel's crypto (`AF_ALG`); mounts,
 * new namespaces, modules, BPF, clocks and the like to a container without the capability for them. Pure.
 */
export function defaultSeccomp(bounding: readonly string[], arch: string = process.arch): OciSeccomp {
  const { architectures = [], syscalls: native = [] } = OF_ARCHITECTURE[arch] ?? {};
  const granted = bounding.flatMap((capability) => BY_CAPABILITY[capability] ?? []);
  const names = [...new Set([...ALLOWED_SYSCALLS, ...native, ...granted])].sort();
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    architectures,
    syscalls: [{ names, action: ALLOW }, ...sockets(), ...personalities(), ...(granted.includes("clone") ? [] : clones())],
  };
}

/** A filter cannot look at two things of one argument, so all but two numbers are three ranges. */
function sockets(): OciSyscallRule[] {
  const when = (op: string, value: number) => ({ names: ["socket"], action: ALLOW, args: [{ index: 0, value, op }] });
  return [when("SCMP_CMP_LT", AF_ALG), when("SCMP_CMP_EQ", AF_ALG + 1), when("SCMP_CMP_GT", AF_VSOCK)];
}

function personalities(): OciSyscallRule[] {
  return PERSONALITIES.map((value) => ({ names: ["personality"], action: ALLOW, args: [{ index: 0, value, op: "SCMP_CMP_EQ" }] }));
}

/** New processes and threads, not new namespaces: a user namespace would give every capability in it. */
function clones(): OciSyscallRule[] {
  return [
    { names: ["clone"], action: ALLOW, args: [{ index: 0, value: NAMESPACE_FLAGS, op: "SCMP_CMP_MASKED_EQ" }] },
    // Its flags lie in memory, where a filter cannot look. A C library that gets ENOSYS takes `clone`; with EPERM it would make no thread at all.
    { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS },
  ];
}
