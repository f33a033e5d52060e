import type { ContainerConfig } from "../config/container-config.ts";
import type { TtySize, UserConfig } from "../config/process-config.ts";
import type { OciProcess, OciUser } from "../contracts/oci.ts";

/** What a process in a container has of its own; what is absent is the container's. */
export interface ProcessOverrides {
  readonly args?: readonly string[];
  /** Added to the container's. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly user?: UserConfig;
  readonly tty?: boolean;
  readonly ttySize?: TtySize;
}

/**
 * The OCI process of a container, or of one more process in it: capabilities, limits, umask and `noNewPrivileges` are always the container's. Pure.
 * One more process has to say `tty` either way: absent, it is the container's too.
 */
export function processSpec(config: ContainerConfig, over: ProcessOverrides = {}): OciProcess {
  const { capabilities, rlimits, noNewPrivileges, umask, oomScoreAdj } = config;
  const terminal = over.tty ?? config.tty;
  const size = over.ttySize ?? config.ttySize;
  return {
    terminal,
    ...(terminal && size && { consoleSize: { height: size.rows, width: size.columns } }),
    user: { ...ociUser(over.user ?? config.user), ...(umask !== undefined && { umask }) },
    args: over.args ?? config.command,
    env: Object.entries({ ...config.env, ...over.env }).map(([name, value]) => `${name}=${value}`),
    cwd: over.cwd ?? config.cwd,
    capabilities,
    ...(rlimits.length > 0 && { rlimits }),
    noNewPrivileges,
    ...(oomScoreAdj !== undefined && { oomScoreAdj }),
  };
}

function ociUser({ uid, gid, additionalGids, name }: UserConfig): OciUser {
  return { uid, gid, ...(additionalGids.length > 0 && { additionalGids }), ...(name !== undefined && { username: name }) };
}
