import { TapvisorError } from "tapvisor/plugin";
import { z } from "zod";

/** What `hypervisorQemu()` takes. */
export interface HypervisorQemuOptions {
  /** QEMU's program, a path or a name on PATH; `qemu-system-x86_64` by default. */
  readonly binary?: string;
  /** `auto` (the default) uses KVM where the processor itself offers it, software emulation (TCG) otherwise. */
  readonly accelerator?: "auto" | "kvm" | "tcg";
  /** The machine type: `q35` (the default), or `pc`, which is older. */
  readonly machine?: "q35" | "pc";
  /** The virtiofsd program, a path or a name on PATH; by default where distributions install it. */
  readonly virtiofsd?: string;
  /** The unprivileged user, a name or a uid, that QEMU runs as; by default it runs as who runs the script. Needs root; no templates and snapshots then. */
  readonly user?: string | number;
}

/** Options with every default filled in. */
export interface QemuOptions {
  readonly binary: string;
  readonly accelerator: "auto" | "kvm" | "tcg";
  readonly machine: "q35" | "pc";
  /** Tried in this order. */
  readonly virtiofsd: readonly string[];
  readonly user?: string;
}

const program = z
  .string()
  .min(1)
  .refine((text) => !text.includes("\0"));

const SCHEMA = z.strictObject({
  binary: program.optional(),
  accelerator: z.enum(["auto", "kvm", "tcg"]).optional(),
  machine: z.enum(["q35", "pc"]).optional(),
  virtiofsd: program.optional(),
  user: z
    .union([
      z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$/),
      z
        .int()
        .min(0)
        .max(2 ** 32 - 2),
    ])
    .optional(),
});

const WANTED: Readonly<Record<string, string>> = {
  binary: "a program's path or its name on PATH",
  accelerator: '"auto", "kvm" or "tcg"',
  machine: '"q35" or "pc"',
  virtiofsd: "a program's path or its name on PATH",
  user: "the name or the uid of an unprivileged user",
};

/** @throws INVALID_INPUT naming the field. */
export function resolveOptions(options: unknown): QemuOptions {
  const parsed = SCHEMA.safeParse(options);
  if (!parsed.success) throw invalidOption(options, parsed.error.issues[0]);
  return {
    binary: parsed.data.binary ?? "qemu-system-x86_64",
    accelerator: parsed.data.accelerator ?? "auto",
    machine: parsed.data.machine ?? "q35",
    virtiofsd: parsed.data.virtiofsd ? [parsed.data.virtiofsd] : ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "virtiofsd"],
    ...(parsed.data.user !== undefined && { user: String(parsed.data.user) }),
  };
}

function invalidOption(options: unknown, issue: z.core.$ZodIssue | undefined): TapvisorError {
  const unknownField = issue?.code === "unrecognized_keys" ? issue.keys[0] : undefined;
  const field = unknownField ?? issue?.path[0]?.toString();
  const path = field === undefined ? "hypervisor-qemu" : `hypervisor-qemu.${field}`;
  const value = field === undefined ? options : (options as Record<string, unknown>)[field];
  const known = Object.keys(WANTED).join(", ");
  const wanted = unknownField ? `one of the options ${known}` : ((field && WANTED[field]) ?? `an object with some of ${known}`);
  return new TapvisorError("INVALID_INPUT", `Cannot use option ${path}: got ${JSON.stringify(value)}, wanted ${wanted}`, {
    data: { path, value, wanted },
    hint: `the options of hypervisor-qemu are ${known}`,
  });
}
