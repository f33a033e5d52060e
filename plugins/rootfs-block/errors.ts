import { TapvisorError } from "tapvisor/plugin";

export interface Reason {
  /** What was found. */
  readonly found: string;
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/** A refusal of what the script gave: `path` names its field, `rootfs.block` say. */
export function unusable(path: string, value: string, wanted: string, { found, hint, cause }: Reason): TapvisorError {
  return new TapvisorError("INVALID_INPUT", `Cannot use ${path} ${JSON.stringify(value)}: ${found}, wanted ${wanted}`, {
    data: { path, value, wanted },
    ...(hint === undefined ? {} : { hint }),
    cause,
  });
}

export function unsupported(what: string, why: string, hint?: string): TapvisorError {
  return new TapvisorError("UNSUPPORTED", `Cannot use a ${what}: ${why}`, {
    data: { what, by: "rootfs-block" },
    ...(hint === undefined ? {} : { hint }),
  });
}

/** What the system's refusal to open a path means to a person. */
export function systemReason(path: string, error: unknown): Reason {
  const { code, message } = error as NodeJS.ErrnoException;
  const texts: Readonly<Record<string, string>> = {
    ENOENT: `${path} does not exist`,
    ENOTDIR: `a part of ${path} is not a directory`,
    EACCES: `${path} cannot be opened by this user`,
    EPERM: `${path} cannot be opened by this user`,
    EROFS: `${path} lies on a read-only file system`,
    ELOOP: `${path} is a link that leads to itself`,
    ENXIO: `there is no device behind ${path}`,
    EBUSY: `${path} is in use on this host, mounted say`,
  };
  return { found: texts[code ?? ""] ?? message, cause: error };
}
