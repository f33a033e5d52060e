import { availableParallelism, totalmem } from "node:os";
import { z } from "zod";
import { TapvisorError } from "../base/errors.ts";
import { newId } from "../base/ids.ts";
import { alignUp, type Bytes, formatBytes, MiB } from "../base/units.ts";
import type { VmSize } from "../contracts/hypervisor.ts";
import {
  BOOT_RETRIES,
  DEADLINES,
  DEFAULT_MEMORY_BYTES,
  DEFAULT_VCPUS,
  MEMORY_BLOCK,
  MOST_VCPUS,
  SMALLEST_MEMORY_BYTES,
} from "./defaults.ts";
import { cpusetSchema } from "./resources-config.ts";
import { bytesSchema, idSchema, textSchema, validate } from "./validate.ts";

/** What a script asks of a new sandbox. */
export interface SandboxOptions {
  /** Its name, unique on the host under one root; made up when absent. */
  readonly id?: string;
  /** vCPUs at boot; 1 by default. */
  readonly vcpus?: number;
  /** Memory at boot, `"512MiB"` by default: at least 128 MiB, a multiple of 1 MiB, no more than the host has. */
  readonly memory?: string | number;
  /** How many vCPUs the VM can grow to for its containers; as many as the host has and at least 16 by default. */
  readonly maxVcpus?: number;
  /** How much memory the VM can grow to; what the host has by default. */
  readonly maxMemory?: string | number;
  /**
   * `dynamic`, the default: the VM grows for each container's `resources` and shrinks when it stops. `static`: it keeps the size it boots with, and
   * containers are limited inside it. The annotations of a pod's runtime, `io.kubernetes.cri.sandbox-cpu-quota`, `-cpu-period` and `-memory`, then
   * come on top of `vcpus` and `memory`, which stand for the VM's own needs.
   */
  readonly sizing?: "dynamic" | "static";
  /**
   * The CPUs of the host that its vCPUs run on, `"0-3,8"`: each vCPU has one of its own as long as there are enough, now and when the VM grows.
   * By default the host decides.
   */
  readonly hostCpus?: string;
  /** The guest's host name; the id by default. */
  readonly hostname?: string;
  /** The VM outlives the script; `false` by default. */
  readonly detached?: boolean;
  /**
   * Whether it goes on from a template, a VM of the same configuration that has booted and was saved, in place of booting. By default it does where that is
   * possible, and boots where not; `status()` tells which and why. `true` insists; a name insists, too, and shares a template only with sandboxes that give
   * the same name: one for each group that trusts itself. `false` boots. A template that is not there yet is built first, which takes a boot and some seconds.
   */
  readonly template?: boolean | string;
  /**
   * Whether directories and files of the host can be shared with its containers; `true` by default. One with `false`, whose containers have disks only, shares the
   * pages of its template until it writes to them: it is made sooner, and takes a third of the memory.
   */
  readonly shares?: boolean;
  /** Free text kept with the sandbox. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly boot?: {
    /** Deadline from the VM's start to the agent's answer, ms; 60 000 by default. */
    readonly timeoutMs?: number;
    /** How often a VM that never answered is started again; 1 by default. */
    readonly retries?: number;
  };
}

/** A validated sandbox configuration: plain data, kept in its record. */
export interface SandboxConfig {
  readonly id: string;
  readonly vcpus: number;
  readonly memoryBytes: Bytes;
  /** How far it can grow; what it boots with when its size is static. */
  readonly limits: VmSize;
  readonly hostCpus?: string | undefined;
  readonly hostname: string;
  readonly detached: boolean;
  /** Absent: where possible. */
  readonly template?: boolean | string | undefined;
  readonly shares: boolean;
  readonly annotations: Readonly<Record<string, string>>;
  readonly boot: { readonly timeoutMs: number; readonly retries: number };
}

/** The name of those who share a template. */
const GROUP = /^[A-Za-z][A-Za-z0-9_-]{0,30}$/;

const schema = z.strictObject({
  id: idSchema.optional(),
  vcpus: z
    .int("wanted a whole number of vCPUs")
    .min(1, "wanted at least 1")
    .max(MOST_VCPUS, `wanted at most ${MOST_VCPUS}`)
    .default(DEFAULT_VCPUS),
  memory: bytesSchema.optional(),
  maxVcpus: z.int("wanted a whole number of vCPUs").min(1, "wanted at least 1").max(MOST_VCPUS, `wanted at most ${MOST_VCPUS}`).optional(),
  maxMemory: bytesSchema.optional(),
  sizing: z.enum(["dynamic", "static"], 'wanted "dynamic" or "static"').default("dynamic"),
  hostCpus: cpusetSchema.optional(),
  hostname: z
    .string()
    .regex(/^[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?$/, "wanted a host name: letters, digits and inner hyphens, at most 64")
    .optional(),
  detached: z.boolean("wanted true or false").default(false),
  template: z
    .union([z.boolean(), z.string().regex(GROUP)], "wanted true, false or a name: a letter, then at most 30 letters, digits, _ or -")
    .optional(),
  shares: z.boolean("wanted true or false").default(true),
  annotations: z.record(z.string(), textSchema).default({}),
  boot: z
    .strictObject({
      timeoutMs: z.int().min(1, "wanted milliseconds, at least 1").default(DEADLINES.boot),
      retries: z.int().min(0).max(5, "wanted 0 to 5").default(BOOT_RETRIES),
    })
    .prefault({}),
});

/**
 * The configuration a script's options stand for.
 * @throws INVALID_INPUT naming the field, HOST_LIMIT when the host has less memory.
 */
export function sandboxConfig(options: unknown): SandboxConfig {
  const { memory, maxVcpus, maxMemory, sizing, ...given } = validate(schema, options ?? {}, "sandbox");
  const asked: VmSize = { vcpus: given.vcpus, memoryBytes: (memory ?? DEFAULT_MEMORY_BYTES) as Bytes };
  checkMemory("memory", asked.memoryBytes);
  const size = sizing === "static" ? withPod(asked, given.annotations) : asked;
  if (size !== asked) checkMemory("memory", size.memoryBytes);
  const limits = sizing === "static" ? size : limitsOf(size, maxVcpus, maxMemory as Bytes | undefined);
  const id = given.id ?? newId("sb");
  return { ...given, ...size, id, limits, hostname: given.hostname ?? id.replace(/[^A-Za-z0-9-]/g, "-") };
}

/** At least this many by default, also on a small host: an idle vCPU that could be plugged costs nothing. */
const USUAL_MAX_VCPUS = 16;

function limitsOf({ vcpus, memoryBytes }: VmSize, maxVcpus: number | undefined, maxMemory: Bytes | undefined): VmSize {
  const host = (Math.floor(totalmem() / MEMORY_BLOCK) * MEMORY_BLOCK) as Bytes;
  if (maxVcpus !== undefined && maxVcpus < vcpus) throw below("maxVcpus", maxVcpus, `at least vcpus, ${vcpus}`);
  if (maxMemory !== undefined) {
    checkMemory("maxMemory", maxMemory);
    if (maxMemory < memoryBytes) throw below("maxMemory", maxMemory, `at least memory, ${formatBytes(memoryBytes)}`);
  }
  return {
    vcpus: maxVcpus ?? Math.max(vcpus, Math.min(MOST_VCPUS, Math.max(USUAL_MAX_VCPUS, availableParallelism()))),
    memoryBytes: maxMemory ?? (Math.max(memoryBytes, host) as Bytes),
  };
}

function below(path: string, value: number, wanted: string): TapvisorError {
  return new TapvisorError("INVALID_INPUT", `Cannot use sandbox.${path} ${value}: wanted ${wanted}`, { data: { path, value, wanted } });
}

/** The size of a pod's VM, as the runtimes of Kubernetes tell it in annotations: its containers' total, beside what the VM itself needs. */
function withPod(own: VmSize, annotations: Readonly<Record<string, string>>): VmSize {
  const number = (name: string) => {
    const text = annotations[`io.kubernetes.cri.sandbox-${name}`] ?? "0";
    if (/^-?\d{1,15}$/.test(text)) return Number(text);
    const path = `annotations.io.kubernetes.cri.sandbox-${name}`;
    throw new TapvisorError("INVALID_INPUT", `Cannot use sandbox.${path} ${JSON.stringify(text)}: wanted a whole number`, {
      data: { path, value: text, wanted: "a whole number" },
    });
  };
  const [quota, period, memory] = [number("cpu-quota"), number("cpu-period"), number("memory")];
  const vcpus = quota > 0 && period > 0 ? Math.ceil(quota / period) : 0;
  return { vcpus: Math.min(MOST_VCPUS, own.vcpus + vcpus), memoryBytes: alignUp(own.memoryBytes + Math.max(0, memory), MiB) };
}

function checkMemory(path: string, bytes: Bytes): void {
  if (bytes < SMALLEST_MEMORY_BYTES || bytes % MiB !== 0) {
    const wanted = `at least ${formatBytes(SMALLEST_MEMORY_BYTES)} and a multiple of 1MiB`;
    throw new TapvisorError("INVALID_INPUT", `Cannot use sandbox.${path} ${formatBytes(bytes)}: wanted ${wanted}`, {
      data: { path, value: bytes, wanted },
    });
  }
  const available = totalmem();
  if (bytes <= available) return;
  throw new TapvisorError(
    "HOST_LIMIT",
    `Cannot use sandbox.${path} ${formatBytes(bytes)}: the host has ${formatBytes(Math.floor(available / MiB) * MiB)}`,
    {
      data: { what: "memory", wanted: bytes, available },
      hint: "ask for less; leave the host some for itself",
    },
  );
}
