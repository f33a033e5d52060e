import { TapvisorError } from "../../base/errors.ts";
import type { ContainerConfig } from "../../config/container-config.ts";
import type { OciSeccomp } from "../../contracts/oci.ts";
import type { SandboxContext } from "../../engine/context.ts";
import { defaultSeccomp } from "./default-profile.ts";

/**
 * The seccomp profile that a container gets in this sandbox's guest. None without support: the default is then left out, with a word at debug level.
 * @throws UNSUPPORTED for a profile of the script's own, or a umask, that the guest cannot apply.
 */
export function seccompOf(sb: SandboxContext, config: ContainerConfig): OciSeccomp | undefined {
  const { seccomp, capabilities, umask } = config;
  const { supportsSeccomp = false, ociExtensions = false } = sb.journal.record.guest ?? {};
  const refuse = (what: string) => unsupported(sb.id, what);
  if (umask !== undefined && !ociExtensions) throw refuse("umask");
  if (seccomp === "unconfined") return undefined;
  if (typeof seccomp === "object") {
    if (!supportsSeccomp) throw refuse("seccomp");
    if (!ociExtensions && hasExtensions(seccomp)) throw refuse("seccomp with flags or error numbers");
    return seccomp;
  }
  if (!supportsSeccomp) {
    sb.log.debug({ container: config.id }, "the guest does not support seccomp: the container gets no profile");
    return undefined;
  }
  const profile = defaultSeccomp(capabilities.bounding);
  return ociExtensions ? profile : withoutErrnos(profile);
}

function hasExtensions({ flags = [], defaultErrnoRet, syscalls = [] }: OciSeccomp): boolean {
  return flags.length > 0 || defaultErrnoRet !== undefined || syscalls.some(({ errnoRet }) => errnoRet !== undefined);
}

/** For an agent that knows no error numbers: what is traced by nobody fails with ENOSYS, which is the number that the profile needs. */
function withoutErrnos(profile: OciSeccomp): OciSeccomp {
  const syscalls = profile.syscalls?.map(({ errnoRet, ...rule }) =>
    errnoRet === undefined ? rule : { ...rule, action: "SCMP_ACT_TRACE" },
  );
  return { ...profile, ...(syscalls && { syscalls }) };
}

function unsupported(sandbox: string, what: string): TapvisorError<"UNSUPPORTED"> {
  return new TapvisorError("UNSUPPORTED", `Cannot give the container its ${what}: the guest of sandbox "${sandbox}" does not take one`, {
    data: { what, by: "the guest's agent" },
    hint: "leave it out, or use the guest that `tapvisor setup` builds",
  });
}
