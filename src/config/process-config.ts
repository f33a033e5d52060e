import { constants } from "node:os";
import { z } from "zod";
import type { OciProcess } from "../contracts/oci.ts";
import { formOf, textSchema } from "./validate.ts";

/** Who a process runs as: numbers, or `"name"`, `"name:group"`, `"1000"`, `"1000:100"` as the container's own /etc/passwd and /etc/group have them. */
export type UserOptions = string | { readonly uid: number; readonly gid?: number; readonly additionalGids?: readonly number[] };

export interface UserConfig {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  /** In place of the numbers; the guest looks it up, since only there the root file system is mounted whatever its kind. */
  readonly name?: string | undefined;
}

/** By the kernel's name in lower case: `nofile`, `nproc`, `core`, … A number is both limits. */
export type RlimitOptions = Readonly<
  Record<string, number | "unlimited" | { readonly soft: number | "unlimited"; readonly hard: number | "unlimited" }>
>;

export interface TtySize {
  readonly rows: number;
  readonly columns: number;
}

/** "No limit" where the OCI specification has an unsigned number of 64 bits: what JSON makes of 2^64 - 1. */
const UNLIMITED = 2 ** 64;

const RLIMITS = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split(" ");

const DEFAULT_RLIMITS: OciProcess["rlimits"] = [{ type: "RLIMIT_NOFILE", soft: 1024, hard: 4096 }];

const numericId = z
  .int("wanted a number")
  .min(0, "wanted 0 or more")
  .max(2 ** 31 - 1, "wanted at most 2147483647");

const ROOT: UserConfig = { uid: 0, gid: 0, additionalGids: [] };

const userName = textSchema
  .regex(/^[^:\s]{1,64}(:[^:\s]{1,64})?$/, 'wanted "user" or "user:group"')
  .transform((name): UserConfig => ({ ...ROOT, name }));

const userNumbers = z
  .strictObject(
    { uid: numericId, gid: numericId.optional(), additionalGids: z.array(numericId).default([]) },
    'wanted "user", "user:group" or { uid, gid, additionalGids }',
  )
  .transform(({ uid, gid, additionalGids }): UserConfig => ({ uid, gid: gid ?? uid, additionalGids }));

/** For a container's process and for others in it. */
export const userSchema = formOf((given): z.ZodType<UserConfig> => (typeof given === "string" ? userName : userNumbers));

/** A word of a command line or an environment's value, which end at a NUL. */
export const wordSchema = z.string("wanted text").refine((word) => !word.includes("\0"), "wanted text without NUL");

/** A command line: the program's name, then its arguments. `example` is shown to one who gives no list. */
export const argvSchema = (example: string) =>
  z
    .array(wordSchema, `wanted a list of words such as ${example}`)
    .min(1, "wanted at least the program's name")
    .refine((words) => words[0] !== "", "wanted a program's name first");

const side = z.int("wanted a number of cells").min(1, "wanted at least 1").max(65_535, "wanted at most 65535");
export const ttySizeSchema = z.strictObject({ rows: side, columns: side });

const limit = z
  .union([z.literal("unlimited"), z.int().min(0)], 'wanted a whole number from 0 on, or "unlimited"')
  .transform((value) => (value === "unlimited" ? UNLIMITED : value));

const bothLimits = limit.transform((both) => ({ soft: both, hard: both }));
const twoLimits = z.strictObject({ soft: limit, hard: limit }).refine(({ soft, hard }) => soft <= hard, "wanted soft not above hard");

const rlimits = z
  .record(
    z.string().refine((name) => RLIMITS.includes(name), `wanted one of ${RLIMITS.join(", ")}`),
    formOf((given): z.ZodType<{ soft: number; hard: number }> => (typeof given === "object" ? twoLimits : bothLimits)),
  )
  .transform((given) => Object.entries(given).map(([name, each]) => ({ type: `RLIMIT_${name.toUpperCase()}`, ...each })));

const HIGHEST_SIGNAL = 64;
const isSignal = (given: unknown) =>
  typeof given === "string"
    ? Object.hasOwn(constants.signals, given)
    : Number.isInteger(given) && Number(given) >= 1 && Number(given) <= HIGHEST_SIGNAL;

/** The options of a container's own process, besides its command, environment and working directory. */
export const processFields = {
  user: userSchema.default(ROOT),
  umask: z.int("wanted permission bits").min(0).max(0o777, "wanted permission bits, at most 0o777").optional(),
  noNewPrivileges: z.boolean("wanted true or false").default(true),
  rlimits: rlimits.default([...(DEFAULT_RLIMITS ?? [])]),
  oomScoreAdj: z
    .int("wanted a whole number")
    .min(0, "wanted 0 or more: the guest itself is spared first")
    .max(1000, "wanted at most 1000")
    .optional(),
  tty: z.boolean("wanted true or false").default(false),
  ttySize: ttySizeSchema.optional(),
  stopSignal: z
    .custom<NodeJS.Signals | number>(isSignal, `wanted a signal's name such as "SIGTERM", or a number from 1 to ${HIGHEST_SIGNAL}`)
    .default("SIGTERM"),
};
