import { z } from "zod";
import type { OciSeccomp } from "../contracts/oci.ts";
import { formOf } from "./validate.ts";

/**
 * Which system calls a container may make: `"default"` is the engine's own profile, which refuses what widens the way out of a container and leaves what
 * the container's capabilities are for; `"unconfined"` is none; an object is `linux.seccomp` of an OCI configuration.
 */
export type SeccompOptions = "default" | "unconfined" | OciSeccomp;

const ACTIONS = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "TRACE", "TRAP"].map((name) => `SCMP_ACT_${name}`);
const ARCHITECTURES =
  "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X PARISC PARISC64 RISCV64"
    .split(" ")
    .map((name) => `SCMP_ARCH_${name}`);
const FLAGS = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"];
const OPERATORS = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"].map((name) => `SCMP_CMP_${name}`);

const oneOf = (names: readonly string[]) => z.string().refine((name) => names.includes(name), `wanted one of ${names.join(", ")}`);
const errno = z.int("wanted an error's number").min(0, "wanted an error's number").max(4095, "wanted an error's number, at most 4095");
const number = z.int("wanted a whole number up to 2^53").min(0, "wanted 0 or more");

const FORM = '"default", "unconfined" or an object as linux.seccomp of the OCI specification';

const rule = z.strictObject({
  names: z.array(z.string().regex(/^\w{1,64}$/, 'wanted the name of a system call such as "mount"')).min(1, "wanted at least one name"),
  action: oneOf(ACTIONS),
  errnoRet: errno.optional(),
  args: z
    .array(
      z.strictObject({
        index: z.int().min(0).max(5, "wanted an argument's index, 0 to 5"),
        value: number,
        valueTwo: number.optional(),
        op: oneOf(OPERATORS),
      }),
    )
    .optional(),
});

/** `linux.seccomp` of an OCI configuration. Notifications need a listener on the guest's side, and there is none. */
export const ociSeccompSchema = z.strictObject(
  {
    defaultAction: oneOf(ACTIONS),
    defaultErrnoRet: errno.optional(),
    architectures: z.array(oneOf(ARCHITECTURES)).optional(),
    flags: z.array(oneOf(FLAGS)).optional(),
    syscalls: z.array(rule, "wanted a list of rules").optional(),
  },
  `wanted ${FORM}`,
);

const word = z.enum(["default", "unconfined"], `wanted ${FORM}`);

export const seccompSchema = formOf(
  (given): z.ZodType<SeccompOptions> => (typeof given === "string" ? word : (ociSeccompSchema as z.ZodType<OciSeccomp>)),
).default("default");
