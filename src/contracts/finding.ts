/** One thing `doctor` looked at. */
export interface Finding {
  /** What was looked at: "QEMU", "KVM". */
  readonly check: string;
  /** `missing` fails the doctor; `degraded` works with a drawback. */
  readonly level: "ok" | "degraded" | "missing";
  /** What was found, one line. */
  readonly found: string;
  /** What mends it, a command where there is one. */
  readonly fix?: string;
  /** Debian packages that provide it; `setup` installs those of the findings that are missing. */
  readonly packages?: readonly string[];
}
