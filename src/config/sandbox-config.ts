import { totalmem } from "node:os";
import { z } from "zod";
import { TapvisorError } from "../base/errors.ts";
import { newId } from "../base/ids.ts";
import { type Bytes, formatBytes, MiB } from "../base/units.ts";
import { BOOT_RETRIES, DEADLINES, DEFAULT_MEMORY_BYTES, DEFAULT_VCPUS, SMALLEST_MEMORY_BYTES } from "./defaults.ts";
import { bytesSchema, idSchema, textSchema, validate } from "./validate.ts";

/** What a script asks of a new sandbox. */
export interface SandboxOptions {
  /** Its name, unique on the host under one root; made up when absent. */
  readonly id?: string;
  /** vCPUs at boot; 1 by default. */
  readonly vcpus?: number;
  /** Memory at boot, `"512MiB"` by default: at least 128 MiB, a multiple of 1 MiB, no more than the host has. */
  readonly memory?: string | number;
  /** The guest's host name; the id by default. */
  readonly hostname?: string;
  /** The VM outlives the script; `false` by default. */
  readonly detached?: boolean;
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
  readonly hostname: string;
  readonly detached: boolean;
  readonly annotations: Readonly<Record<string, string>>;
  readonly boot: { readonly timeoutMs: number; readonly retries: number };
}

const schema = z.strictObject({
  id: idSchema.optional(),
  vcpus: z.int("wanted a whole number of vCPUs").min(1, "wanted at least 1").max(64, "wanted at most 64").default(DEFAULT_VCPUS),
  memory: bytesSchema.optional(),
  hostname: z
    .string()
    .regex(/^[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?$/, "wanted a host name: letters, digits and inner hyphens, at most 64")
    .optional(),
  detached: z.boolean("wanted true or false").default(false),
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
  const { memory, ...given } = validate(schema, options ?? {}, "sandbox");
  const memoryBytes = (memory ?? DEFAULT_MEMORY_BYTES) as Bytes;
  checkMemory(memoryBytes);
  const id = given.id ?? newId("sb");
  return { ...given, id, memoryBytes, hostname: given.hostname ?? id.replace(/[^A-Za-z0-9-]/g, "-") };
}

function checkMemory(bytes: Bytes): void {
  if (bytes < SMALLEST_MEMORY_BYTES || bytes % MiB !== 0) {
    const wanted = `at least ${formatBytes(SMALLEST_MEMORY_BYTES)} and a multiple of 1MiB`;
    throw new TapvisorError("INVALID_INPUT", `Cannot use sandbox.memory ${formatBytes(bytes)}: wanted ${wanted}`, {
      data: { path: "memory", value: bytes, wanted },
    });
  }
  const available = totalmem();
  if (bytes <= available) return;
  throw new TapvisorError(
    "HOST_LIMIT",
    `Cannot use sandbox.memory ${formatBytes(bytes)}: the host has ${formatBytes(Math.floor(available / MiB) * MiB)}`,
    {
      data: { what: "memory", wanted: bytes, available },
      hint: "ask for less; leave the host some for itself",
    },
  );
}
