import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Call, findProcessesByMark, isAlive, signalProcess, TapvisorError, throwIfAborted } from "tapvisor/plugin";

/** Where an administrator's programs lie; not in the search path of ordinary users. */
const SYSTEM_DIRECTORIES = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/**
 * mkfs.erofs keeps times up to this one, which it writes down as its own: the same tree gives the same bytes, and files keep their times
 * (Python compiles anew what its cache dates otherwise). With `-T` all files would get one time.
 */
const YEAR_2100 = "4102444800";
const LAST_OPTION = "--quiet";
const ERROR_BYTES = 4096;
const LOOK_EVERY_MS = 5;
const WHAT = "copying the rootfs to a disk image";

/**
 * Runs the program only if its parent still is this process: setpriv arms the signal for the parent's death after the fork, and a parent
 * that died before that would never be noticed.
 */
const GUARD = '[ "$PPID" = "$1" ] || exit 125; shift; exec "$@"';

/**
 * Makes an erofs image of a directory with mkfs.erofs, uncompressed: under emulation the processor is the bottleneck, never the disk.
 * Owners are kept, and extended attributes with them, as a share would show them; a user other than root gives all to root, as nothing else
 * can be his. The program dies with `call.signal`, its only deadline, and with this process.
 *
 * @param holes whether there are large holes in files: they take no space then, but more time (4 s for a GiB) and a copy of all data in /tmp.
 * @throws HOST_MISSING without erofs-utils or util-linux, ABORTED, INTERNAL with the program's last words.
 */
export async function makeErofs(image: string, directory: string, holes: boolean, call: Call): Promise<void> {
  const owners = process.geteuid?.() === 0 ? [] : ["--all-root"];
  const chunks = holes ? ["--chunksize=65536"] : [];
  const options = [...owners, ...chunks, "-U00000000-0000-4000-8000-000000000000", LAST_OPTION];
  const program = await needProgram("mkfs.erofs", "erofs-utils");
  const guard = [await needProgram("setpriv", "util-linux"), "--pdeathsig", "KILL", "sh", "-c", GUARD, "sh", String(process.pid)];
  await runToEnd([...guard, program, ...options, image, directory], call.signal);
}

/**
 * Ends the program that still makes this image, as that of a process that was killed just now may, and waits until it is gone.
 *
 * @throws ABORTED when it does not end before the signal fires.
 */
export async function endMakingErofs(image: string, signal: AbortSignal): Promise<void> {
  for (const program of await findProcessesByMark(`${LAST_OPTION}\0${image}\0`)) {
    await signalProcess(program, "SIGKILL");
    // Linux tells only the parent of a process's end.
    for (; await isAlive(program); await delay(LOOK_EVERY_MS)) throwIfAborted(signal, `the end of mkfs.erofs, process ${program.pid}`);
  }
}

/** Resolves or rejects once the process is gone, never before. */
function runToEnd(argv: readonly string[], signal: AbortSignal): Promise<void> {
  const [file = "", ...args] = argv;
  throwIfAborted(signal, WHAT);
  const env = { PATH: process.env.PATH, LC_ALL: "C", SOURCE_DATE_EPOCH: YEAR_2100 };
  // A session of its own: Ctrl-C in a terminal reaches the script alone, which rolls back.
  const child = spawn(file, args, { stdio: ["ignore", "ignore", "pipe"], detached: true, cwd: "/", env });
  const kill = () => void child.kill("SIGKILL");
  signal.addEventListener("abort", kill, { once: true });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-ERROR_BYTES);
  });
  return new Promise<void>((resolve, reject) => {
    child.once("error", (error) => reject(failed(said, error.message, error)));
    child.once("close", (code, killedBy) => {
      if (code === 0) resolve();
      else reject(failed(said, killedBy ? `it was ended by ${killedBy}` : `it ended with ${code}`));
    });
  })
    .catch((error: unknown) => {
      throwIfAborted(signal, WHAT);
      throw error;
    })
    .finally(() => signal.removeEventListener("abort", kill));
}

function failed(said: string, end: string, cause?: unknown): TapvisorError {
  const words = said.replace(/^usage:.*/ms, "").trim() || end;
  return new TapvisorError("INTERNAL", `Cannot make a disk image of the rootfs: mkfs.erofs failed: ${words}`, {
    data: { detail: said },
    hint: "the directory must not change meanwhile; is there space left in the engine's root?",
    cause,
  });
}

async function needProgram(name: string, debianPackage: string): Promise<string> {
  for (const directory of [...(process.env.PATH ?? "").split(delimiter).filter(Boolean), ...SYSTEM_DIRECTORIES]) {
    const path = join(directory, name);
    if (await isExecutable(path)) return path;
  }
  throw new TapvisorError("HOST_MISSING", `Cannot make a disk image of the rootfs: the program ${name} is not installed`, {
    data: { what: name, wanted: `the Debian package ${debianPackage}` },
    hint: `install it: sudo apt-get install ${debianPackage}`,
  });
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
