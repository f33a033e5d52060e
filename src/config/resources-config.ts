import { z } from "zod";
import { TapvisorError } from "../base/errors.ts";
import { type Bytes, KiB, parseBytes, SIZE_FORM } from "../base/units.ts";
import { MOST_VCPUS } from "./defaults.ts";
import { validate } from "./validate.ts";

/**
 * What a container may use. vCPUs and memory are plugged into the VM while the container lives, beyond what the VM booted with, and all of it limits
 * the container's cgroup. What is not named is not limited.
 */
export interface ResourceOptions {
  /** CPU time in vCPUs, 0.01 to 64: 1.5 is one and a half. The VM gets whole ones, rounded up. */
  readonly vcpus?: number;
  /** `"256MiB"`; the VM gets whole memory blocks of its guest, 128 MiB each as a rule. */
  readonly memory?: string | number;
  /** Swap beyond the memory; counted as memory, since the guest has no swap device of its own. */
  readonly swap?: string | number;
  /** Memory that the kernel takes from this container last. */
  readonly memoryReservation?: string | number;
  /** CPU time per period in microseconds, in place of `vcpus`; a negative one is no limit. */
  readonly cpuQuota?: number;
  /** The quota's period, microseconds, 1 000 to 1 000 000; 100 000 by default. */
  readonly cpuPeriod?: number;
  /** The vCPUs it may run on, `"0-2,4"`; where there is no quota it tells how many vCPUs the VM needs. */
  readonly cpuset?: string;
  /** Weight against other containers when vCPUs are short, 2 to 262 144; the kernel's default stands for 1024. */
  readonly cpuShares?: number;
  /** The most processes and threads at once. */
  readonly pids?: number;
  /** By page size, `{ "2MiB": "64MiB" }`; counted as memory. */
  readonly hugepages?: Readonly<Record<string, string | number>>;
}

/** What `update` changes: a value sets a limit, `null` removes it, what is not named stays. */
export type UpdateOptions = { readonly [K in keyof ResourceOptions]?: ResourceOptions[K] | null };

/** Validated: plain data, kept in the container's record. Sizes in bytes, times in microseconds. */
export interface ResourceConfig {
  readonly vcpus?: number | undefined;
  readonly memoryBytes?: Bytes | undefined;
  readonly swapBytes?: Bytes | undefined;
  readonly memoryReservationBytes?: Bytes | undefined;
  readonly cpuQuota?: number | undefined;
  readonly cpuPeriod?: number | undefined;
  readonly cpuset?: string | undefined;
  readonly cpuShares?: number | undefined;
  readonly pids?: number | undefined;
  readonly hugepages?: Readonly<Record<string, Bytes>> | undefined;
}

/** The kernel's shortest quota, microseconds. */
const SHORTEST_QUOTA = 1_000;
/** The kernel's own period, microseconds. */
export const CPU_PERIOD = 100_000;
const PAGE = 4 * KiB;

/** A limit of memory: the kernel counts whole pages. */
const limit = z.unknown().transform((value, context) => {
  const bytes = parseBytes(value);
  const wanted = bytes === undefined || bytes === 0 ? SIZE_FORM : bytes % PAGE === 0 ? undefined : "a multiple of 4KiB, the size of a page";
  if (wanted === undefined) return bytes as Bytes;
  context.addIssue({ code: "custom", message: `wanted ${wanted}` });
  return z.NEVER;
});

const CPUSET = /^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$/;

/** A list of CPUs, each range ascending. */
export const cpusetSchema = z
  .string('wanted a list such as "0-2,4"')
  .regex(CPUSET, 'wanted a list such as "0-2,4"')
  .refine((text) => vcpusIn(text).every(Number.isFinite), "wanted each range ascending");

const fields = {
  vcpus: z.number("wanted a number of vCPUs").min(0.01, "wanted at least 0.01").max(MOST_VCPUS, `wanted at most ${MOST_VCPUS}`),
  memory: limit,
  swap: limit,
  memoryReservation: limit,
  cpuQuota: z
    .int("wanted whole microseconds")
    .refine((quota) => quota < 0 || quota >= SHORTEST_QUOTA, `wanted at least ${SHORTEST_QUOTA} microseconds, or -1 for no limit`),
  cpuPeriod: z
    .int("wanted whole microseconds")
    .min(1_000, "wanted at least 1000 microseconds")
    .max(1_000_000, "wanted at most 1000000 microseconds"),
  cpuset: cpusetSchema.refine((text) => vcpusIn(text).every((vcpu) => vcpu < MOST_VCPUS), `wanted vCPUs below ${MOST_VCPUS}`),
  cpuShares: z.int("wanted a whole number").min(2, "wanted at least 2").max(262_144, "wanted at most 262144"),
  pids: z.int("wanted a whole number").min(1, "wanted at least 1"),
  hugepages: z.record(z.string().regex(/^(2MiB|1GiB)$/, 'wanted a page size, "2MiB" or "1GiB"'), limit),
} as const;

const asOptional = Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.optional()])) as {
  [K in keyof typeof fields]: z.ZodOptional<(typeof fields)[K]>;
};
const asNullable = Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, z.union([z.null(), field]).optional()])) as {
  [K in keyof typeof fields]: z.ZodOptional<z.ZodUnion<[z.ZodNull, (typeof fields)[K]]>>;
};

/** Of a container's options. */
export const resourcesSchema = z.strictObject(asOptional).refine(hasOneQuota, "wanted vcpus or cpuQuota, not both").default({});
const updateSchema = z
  .strictObject(asNullable)
  .refine(hasOneQuota, "wanted vcpus or cpuQuota, not both")
  .refine((given) => Object.values(given).some((value) => value !== undefined), `wanted one of ${Object.keys(fields).join(", ")}`);

type Parsed = z.output<typeof resourcesSchema>;

/** The limits that validated options stand for. */
export function resourceConfig({ memory, swap, memoryReservation, ...given }: Parsed): ResourceConfig {
  return { ...given, memoryBytes: memory, swapBytes: swap, memoryReservationBytes: memoryReservation } as ResourceConfig;
}

/** The limits after an update. @throws INVALID_INPUT naming the field. */
export function updatedResources(now: ResourceConfig, options: unknown): ResourceConfig {
  const { memory, swap, memoryReservation, ...given } = validate(updateSchema, options, "update");
  const changes = { ...given, memoryBytes: memory, swapBytes: swap, memoryReservationBytes: memoryReservation };
  // A new quota in one form takes the place of an old one in the other.
  const forms =
    given.vcpus !== undefined ? { cpuQuota: undefined, cpuPeriod: undefined } : given.cpuQuota !== undefined ? { vcpus: undefined } : {};
  const set = Object.fromEntries(
    Object.entries(changes).flatMap(([name, value]) => (value === undefined ? [] : [[name, value ?? undefined]])),
  );
  const updated = { ...now, ...forms, ...set } as ResourceConfig;
  checkReservation(updated);
  return updated;
}

/** The vCPUs that a list names, `"0-2,4"` say; a range that descends names none it could be. */
export function vcpusIn(cpuset: string): number[] {
  return cpuset.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return last < first ? [Number.POSITIVE_INFINITY] : Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

function hasOneQuota({ vcpus, cpuQuota }: { readonly vcpus?: unknown; readonly cpuQuota?: unknown }): boolean {
  return typeof vcpus !== "number" || typeof cpuQuota !== "number";
}

/** @throws INVALID_INPUT. */
export function checkReservation({ memoryBytes, memoryReservationBytes }: ResourceConfig): void {
  if (memoryBytes === undefined || memoryReservationBytes === undefined || memoryReservationBytes <= memoryBytes) return;
  throw new TapvisorError(
    "INVALID_INPUT",
    `Cannot reserve ${memoryReservationBytes} bytes of memory: wanted at most the limit, ${memoryBytes}`,
    {
      data: { path: "resources.memoryReservation", value: memoryReservationBytes, wanted: `at most ${memoryBytes}` },
    },
  );
}
