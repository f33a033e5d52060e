import { type CAC, type Command, cac } from "cac";
import { splitArguments } from "./arguments.ts";
import type { AttachFlags } from "./attach.ts";
import { CliError } from "./cli-error.ts";
import { DASH } from "./copy-place.ts";
import type { CopyFlags } from "./cp.ts";
import type { ExecFlags } from "./exec.ts";
import { EXIT } from "./exit-codes.ts";
import type { GcFlags } from "./gc.ts";
import type { HooksFlags } from "./hooks.ts";
import type { InspectFlags } from "./inspect.ts";
import { ownPackage } from "./own-modules.ts";
import { painter } from "./paint.ts";
import { formatError } from "./print-error.ts";
import type { PsFlags } from "./ps.ts";
import type { RmFlags } from "./rm.ts";
import type { StopFlags } from "./stop.ts";
import { nearest } from "./suggest.ts";
import type { TemplateFlags } from "./template.ts";
import type { VolumesFlags } from "./volumes.ts";

/**
 * The whole command line. Returns the exit code, or nothing when it is the script's.
 * Commands are loaded when they run, so that `--help` answers at once.
 */
export async function runCli(argv: readonly string[]): Promise<number | undefined> {
  const verbose = splitArguments(argv).own.includes("--verbose");
  // Loggers read it when they are made.
  if (verbose) process.env.LOG_LEVEL ??= "debug";
  try {
    return await dispatch(argv, verbose);
  } catch (error) {
    process.stderr.write(`${formatCliError(error, verbose)}\n`);
    return error instanceof CliError ? error.exitCode : EXIT.ownFailure;
  }
}

async function dispatch(argv: readonly string[], verbose: boolean): Promise<number | undefined> {
  const { own: joined, script } = splitArguments(argv);
  const own = joined.flatMap((word) => (/^-[it]{2}$/.test(word) ? [...word.slice(1)].map((letter) => `-${letter}`) : word));
  const program = createProgram(script, verbose);
  checkWords(program, own);
  program.parse(["node", "tapvisor", ...own.map((word) => (word === "-" ? DASH : word))], { run: false });
  if (program.options.help || program.options.version) return EXIT.ok; // cac has printed it
  if (!program.matchedCommand) {
    program.outputHelp();
    return EXIT.usage;
  }
  try {
    return await program.runMatchedCommand();
  } catch (error) {
    // cac's own complaints: a missing script, an argument too many.
    if (error instanceof Error && error.name === "CACError") {
      throw new CliError(EXIT.usage, sentence(error.message), { hint: `see \`tapvisor ${program.matchedCommandName} --help\`` });
    }
    throw error;
  }
}

function createProgram(scriptArguments: readonly string[], verbose: boolean): CAC {
  const program = cac("tapvisor");
  program.version(ownPackage(import.meta.url).version);
  program.option("--verbose", "Log what happens on stderr, and print stack traces; LOG_LEVEL chooses how much");
  program.help();
  program
    .command("run <script>", "Run a script; everything after it is the script's own, its exit code is the result")
    .usage("run [options] <script> [...arguments]")
    .action(async (script: string) => {
      const { runScript } = await import("./run.ts");
      await runScript({ script, args: scriptArguments, verbose });
    });
  program
    .command("plan <script>", "Run a script in memory and say what it would plug into its VMs, by which commands; touches nothing")
    .usage("plan [options] <script> [...arguments]")
    .option("--json", "Print the plans as JSON")
    .action(async (script: string, { json }: { readonly json?: boolean }) => {
      const { planScript } = await import("./plan.ts");
      await planScript({ script, args: scriptArguments, verbose, json: json ?? false });
    });
  program
    .command("setup", "Install what this host lacks and build the guest; asks first")
    .option("--yes", "Do not ask")
    .option("--config <file>", "Configuration file, instead of tapvisor.config.json5 when there is one")
    .option("--preset <name>", "Preset to set up")
    .option("--kernel <file>", "A kernel of yours for the guest")
    .option("--modules <directory>", "The modules of that kernel: what stands as /lib/modules/<release>")
    .action(async (options: SetupFlags) => {
      const { setupCommand } = await import("./host-commands.ts");
      return setupCommand(options);
    });
  program
    .command("doctor", "Look at this host and say what is missing, each with its fix")
    .option("--json", "Print the findings as JSON")
    .option("--config <file>", "Configuration file, instead of tapvisor.config.json5 when there is one")
    .option("--preset <name>", "Preset to look for")
    .action(async (options: DoctorFlags) => {
      const { doctorCommand } = await import("./host-commands.ts");
      return doctorCommand(options);
    });
  addProcessCommands(program, scriptArguments);
  addSandboxCommands(program);
  return program;
}

/** The commands that connect this terminal with a process in a container of a detached sandbox. */
function addProcessCommands(program: CAC, command: readonly string[]): void {
  onEngine(program.command("exec <target>", "Run a program in a container of a detached sandbox; its exit code is the result"))
    .usage("exec [options] <sandbox>[/<container>] <program> [...arguments]")
    .option("-i, --interactive", "Pass on the standard input; without it the program has none")
    .option("-t, --tty", "Give it a terminal, shown in this one")
    .option("-e, --env <NAME=value>", "A variable of its environment; may be repeated")
    .option("-u, --user <uid[:gid]>", "Who it runs as, by number")
    .option("-w, --workdir <directory>", "Where it runs")
    .action(async (target: string, flags: ExecFlags) => (await import("./exec.ts")).execCommand(target, command, flags));
  onEngine(program.command("attach <target>", "Connect this terminal with the process of a detached sandbox's container"))
    .usage("attach [options] <sandbox>[/<container>]")
    .option("--no-stdin", "Only show what it prints")
    .action(async (target: string, flags: AttachFlags) => (await import("./attach.ts")).attachCommand(target, flags));
  onEngine(program.command("cp <source> <target>", "Copy files between this host and a container of a detached sandbox"))
    .usage("cp [options] <path> <sandbox>[/<container>]:<path>, or the other way round; - is a tar archive on a standard stream")
    .option("-a, --archive", "Keep owners, by number; without it what goes in belongs to user 0")
    .action(async (source: string, target: string, flags: CopyFlags) => (await import("./cp.ts")).copyCommand(source, target, flags));
}

/** The commands that look at sandboxes and end them, whichever process made them. */
function addSandboxCommands(program: CAC): void {
  onEngine(program.command("ps", "List the sandboxes of this host"))
    .option("--json", "Print them as JSON")
    .action(async (flags: PsFlags) => (await import("./ps.ts")).psCommand(flags));
  onEngine(program.command("inspect <id>", "Show a sandbox: state, VM, containers, what it holds, what could not be released"))
    .option("--json", "Print it as JSON")
    .action(async (id: string, flags: InspectFlags) => (await import("./inspect.ts")).inspectCommand(id, flags));
  onEngine(program.command("stop <id>", "Stop a sandbox's containers, guest and VM"))
    .option("--force", "Kill the VM at once, and ask the guest nothing")
    .action(async (id: string, flags: StopFlags) => (await import("./stop.ts")).stopCommand(id, flags));
  onEngine(program.command("rm <id>", "Remove a sandbox that does not run"))
    .option("--force", "Kill its VM first if it runs")
    .action(async (id: string, flags: RmFlags) => (await import("./rm.ts")).rmCommand(id, flags));
  onEngine(program.command("gc", "Give back what dead scripts have left; fails when something is left still"))
    .option("--json", "Print the report as JSON")
    .action(async (flags: GcFlags) => (await import("./gc.ts")).gcCommand(flags));
  onEngine(program.command("volumes", "List the named volumes, or remove one"))
    .option("--rm <name>", "Remove this volume with all that is in it")
    .option("--json", "Print them as JSON")
    .action(async (flags: VolumesFlags) => (await import("./volumes.ts")).volumesCommand(flags));
  onEngine(
    program.command(
      "template <verb> [...keys]",
      "List the saved VMs that sandboxes go on from (ls), build one (build), or remove some (rm)",
    ),
  )
    .usage("template ls | build | rm [options] [...keys]")
    .option("--memory <size>", "build: the memory of its sandboxes, 512MiB by default")
    .option("--vcpus <count>", "build: their vCPUs, 1 by default")
    .option("--group <name>", "build: the name of those who share it, as sandboxes give it in `template`")
    .option("--all", "rm: all of them")
    .option("--json", "Print them as JSON")
    .action(async (verb: string, keys: string[], flags: TemplateFlags) =>
      (await import("./template.ts")).templateCommand(verb, keys, flags),
    );
  onEngine(program.command("hooks", "Show who taps which hook, in the order the taps run"))
    .option("--json", "Print them as JSON")
    .action(async (flags: HooksFlags) => (await import("./hooks.ts")).hooksCommand(flags));
}

function onEngine(command: Command): Command {
  return command
    .option("--root <directory>", "Where the engine keeps its records, instead of the configured or usual place")
    .option("--config <file>", "Configuration file, instead of tapvisor.config.json5 when there is one");
}

export interface DoctorFlags {
  readonly json?: boolean;
  readonly config?: string;
  readonly preset?: string;
}

export interface SetupFlags {
  readonly yes?: boolean;
  readonly config?: string;
  readonly preset?: string;
  readonly kernel?: string;
  readonly modules?: string;
}

/** Refuses words this program does not know: cac would do nothing at all for an unknown command. */
function checkWords(program: CAC, words: readonly string[]): void {
  const name = words.find((word) => !word.startsWith("-"));
  const command = program.commands.find((known) => known.name === name);
  if (name !== undefined && !command) {
    const names = program.commands.map((known) => known.name);
    const near = nearest(name, names);
    const hint = near
      ? `did you mean \`tapvisor ${near}\`?`
      : /\.[mc]?[jt]s$/.test(name)
        ? `to run a script: \`tapvisor run ${name}\``
        : undefined;
    throw new CliError(EXIT.usage, `Unknown command "${name}": wanted one of ${names.join(", ")}`, { hint });
  }
  const flags = knownFlags(...(command ? [command] : []), program.globalCommand);
  for (const word of words) {
    const flag = /^(--?[^=]*)/.exec(word)?.[1];
    if (flag === undefined || word === "--" || word === "-" || flags.includes(flag)) continue;
    const near = nearest(flag, flags);
    throw new CliError(EXIT.usage, `Unknown option "${flag}"${command ? ` of ${command.name}` : ""}: wanted one of ${flags.join(", ")}`, {
      hint: near && `did you mean ${near}?`,
    });
  }
}

function knownFlags(...commands: readonly Command[]): string[] {
  return commands.flatMap(({ options }) => options.flatMap(({ rawName }) => rawName.match(/--?[a-z][a-z-]*/g) ?? []));
}

function formatCliError(error: unknown, verbose: boolean): string {
  const paint = painter(process.stderr);
  if (!(error instanceof CliError)) return formatError(error, { verbose, paint });
  const hint = error.hint ? [`  ${paint("bold", "hint:")} ${error.hint}`] : [];
  const stack = verbose && error.stack ? [paint("dim", error.stack)] : [];
  return [`${paint("red", "error:")} ${error.message}`, ...hint, ...stack].join("\n");
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
