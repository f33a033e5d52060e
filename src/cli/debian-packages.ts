import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { TapvisorError } from "../base/errors.ts";

/** Installing a hundred packages over a slow line may take this long. */
const INSTALL_TIMEOUT_MS = 20 * 60_000;
const QUERY_TIMEOUT_MS = 60_000;

export type RunProgram = (program: string, args: readonly string[], timeoutMs: number) => Promise<void>;

/** How packages can be installed here, found out without changing anything. */
export interface Installer {
  readonly packages: readonly string[];
  /** The words before `apt-get`: none for root, `sudo -n` for others. */
  readonly prefix: readonly string[];
}

/** The command an administrator can paste. */
export function installCommand(packages: readonly string[], prefix: readonly string[] = ["sudo"]): string {
  const apt = [...prefix, "apt-get"].join(" ");
  return `${apt} update && ${apt} install -y --no-install-recommends ${packages.join(" ")}`;
}

/**
 * Finds out how to install Debian packages: as root, or through sudo when it asks no question.
 * @throws HOST_MISSING with the command for an administrator when neither works, or when this is not a Debian system.
 */
export async function findInstaller(
  packages: readonly string[],
  run: RunProgram = runProgram,
  uid = process.getuid?.(),
): Promise<Installer> {
  const cannot = (why: string, hint: string) =>
    new TapvisorError("HOST_MISSING", `Cannot install ${packages.join(", ")}: ${why}`, {
      data: { what: packages.join(" "), wanted: "installed" },
      hint,
    });
  if (!(await succeeds(run, "apt-get", ["--version"]))) {
    throw cannot(
      "this system has no apt-get, wanted Debian or one derived from it",
      "install what provides the same programs, then run `tapvisor doctor`",
    );
  }
  if (uid === 0) return { packages, prefix: [] };
  if (await succeeds(run, "sudo", ["-n", "true"])) return { packages, prefix: ["sudo", "-n"] };
  throw cannot("neither root nor able to use sudo without a password", `ask an administrator to run: ${installCommand(packages)}`);
}

/**
 * Installs the packages. The package lists are fetched only when they do not know a package or are too old to download it.
 * @throws HOST_MISSING with what apt-get said.
 */
export async function installPackages({ packages, prefix }: Installer, run: RunProgram = runProgram): Promise<void> {
  // What a package's scripts would ask on a terminal gets its default answer: env survives sudo as an argument, not as a variable.
  const apt = (...args: string[]) => {
    const [program, ...rest] = [
      ...prefix,
      "env",
      "DEBIAN_FRONTEND=noninteractive",
      "apt-get",
      "-qq",
      "-o",
      "DPkg::Lock::Timeout=300",
      ...args,
    ];
    return run(program ?? "env", rest, INSTALL_TIMEOUT_MS);
  };
  const install = () => apt("install", "-y", "--no-install-recommends", ...packages);
  if (await succeeds(run, "apt-cache", ["show", "--quiet=0", ...packages])) {
    const installed = await install().then(
      () => true,
      () => false,
    );
    if (installed) return;
  }
  try {
    await apt("update");
    await install();
  } catch (error) {
    throw new TapvisorError("HOST_MISSING", `Cannot install ${packages.join(", ")}: apt-get failed`, {
      data: { what: packages.join(" "), wanted: "installed" },
      cause: error,
      hint: `see what it says to: ${installCommand(packages, prefix)}`,
    });
  }
}

async function succeeds(run: RunProgram, program: string, args: readonly string[]): Promise<boolean> {
  return run(program, args, QUERY_TIMEOUT_MS).then(
    () => true,
    () => false,
  );
}

const runProgram: RunProgram = async (program, args, timeoutMs) => {
  await promisify(execFile)(program, [...args], { timeout: timeoutMs, maxBuffer: 64 * 1024 * 1024 });
};
