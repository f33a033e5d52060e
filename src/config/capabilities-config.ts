import { z } from "zod";
import type { OciCapabilities } from "../contracts/oci.ts";
import { formOf } from "./validate.ts";

/**
 * Linux capabilities, `"CAP_NET_RAW"` or `"NET_RAW"`; `"ALL"` is every one there is. A list is exactly what the container has; `add` and `drop`
 * change the default set (`drop` first, so `{ drop: ["ALL"], add: ["KILL"] }` leaves one); an object of sets is what the OCI specification has.
 */
export type CapabilityOptions =
  | readonly string[]
  | { readonly add?: readonly string[]; readonly drop?: readonly string[] }
  | Readonly<Partial<Record<keyof OciCapabilities, readonly string[]>>>;

/** What Docker gives by default less what reaches past a container (raw sockets, device nodes, audit): safe for programs that run as root. */
export const DEFAULT_CAPABILITIES: readonly string[] = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FSETID",
  "CAP_FOWNER",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETPCAP",
  "CAP_NET_BIND_SERVICE",
  "CAP_SYS_CHROOT",
  "CAP_SETFCAP",
];

/** In the kernel's order, up to Linux 5.9; there have been no others since. */
const EVERY_CAPABILITY: readonly string[] = (
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW " +
  "IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD " +
  "LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
  .split(" ")
  .map((name) => `CAP_${name}`);

const capability = z
  .string('wanted a capability such as "CAP_NET_RAW"')
  .transform((given) => (given === "ALL" || given.startsWith("CAP_") ? given : `CAP_${given}`))
  .refine((name) => name === "ALL" || EVERY_CAPABILITY.includes(name), 'wanted a capability of Linux such as "CAP_NET_RAW", or "ALL"');

const names = z
  .array(capability, "wanted a list of capabilities")
  .transform((list): readonly string[] => (list.includes("ALL") ? EVERY_CAPABILITY : [...new Set(list)]));

const SETS = ["bounding", "effective", "inheritable", "permitted", "ambient"] as const;

const changes = z
  .strictObject({ add: names.default([]), drop: names.default([]) }, "wanted a list, { add, drop } or the sets of the OCI specification")
  .transform(({ add, drop }) => {
    const kept = DEFAULT_CAPABILITIES.filter((name) => !drop.includes(name));
    return sameForAll([...new Set([...kept, ...add])]);
  });

const sets = z
  .strictObject(
    Object.fromEntries(SETS.map((set) => [set, names.default([])])) as Record<(typeof SETS)[number], z.ZodDefault<typeof names>>,
  )
  .refine((given) => given.effective.every((name) => given.permitted.includes(name)), {
    message: "wanted each of them in permitted too",
    path: ["effective"],
  })
  .refine((given) => given.ambient.every((name) => given.permitted.includes(name) && given.inheritable.includes(name)), {
    message: "wanted each of them in permitted and inheritable too",
    path: ["ambient"],
  });

export const capabilitiesSchema = formOf((given): z.ZodType<OciCapabilities> => {
  if (Array.isArray(given)) return names.transform(sameForAll);
  return isSets(given) ? sets : changes;
}).default(sameForAll(DEFAULT_CAPABILITIES));

function isSets(given: unknown): boolean {
  return typeof given === "object" && given !== null && SETS.some((set) => Object.hasOwn(given, set));
}

function sameForAll(set: readonly string[]): OciCapabilities {
  return { bounding: set, effective: set, permitted: set, inheritable: [], ambient: [] };
}
