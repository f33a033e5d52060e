import { pipeline } from "node:stream/promises";
import type { Container } from "../container/container.ts";
import { beforeSignalledExit } from "../engine/exit-guard.ts";
import { CliError } from "./cli-error.ts";
import { copyIn } from "./copy-in.ts";
import { copyOut } from "./copy-out.ts";
import { type CopyPlace, copyPlace } from "./copy-place.ts";
import { EXIT } from "./exit-codes.ts";
import { type EngineFlags, withEngine } from "./open-engine.ts";
import { openContainer } from "./target.ts";

export interface CopyFlags extends EngineFlags {
  /** Keep owners, by number; user 0 otherwise. */
  readonly archive?: boolean;
}

type InContainer = Extract<CopyPlace, { kind: "container" }>;

/** `tapvisor cp <source> <target>`: one of them in a container of a detached sandbox, the other of this host or, as `-`, a tar archive on a standard stream. */
export function copyCommand(source: string, target: string, { archive = false, ...flags }: CopyFlags): Promise<number> {
  const [from, to] = [copyPlace(source), copyPlace(target)];
  if (from.kind === "container" && to.kind !== "container") {
    if (to.kind === "stream" && process.stdout.isTTY) throw badStream("standard output is a terminal, and an archive is no text");
    return copying(flags, from, (container, signal) =>
      to.kind === "host"
        ? copyOut(container, from.path, to.path, signal)
        : pipeline(container.files.tarOut(from.path, { signal }), process.stdout, { end: false, signal }),
    );
  }
  if (to.kind === "container" && from.kind !== "container") {
    if (from.kind === "stream" && process.stdin.isTTY) throw badStream("standard input is a terminal, wanted an archive");
    return copying(flags, to, (container, signal) =>
      from.kind === "host"
        ? copyIn(container, from.path, to.path, { owners: archive, signal })
        : container.files.tarIn(process.stdin, to.path, { owners: archive, signal }),
    );
  }
  throw new CliError(
    EXIT.usage,
    `Cannot copy "${source}" to "${target}": wanted one of them in a container, as <sandbox>/<container>:<path>`,
    {
      hint: "tapvisor cp ./app.json box/web:/etc/app.json",
    },
  );
}

/** A signal gives the copy up, and what it has begun, before the engine closes. */
function copying(
  flags: EngineFlags,
  { target }: InContainer,
  work: (container: Container, signal: AbortSignal) => Promise<void>,
): Promise<number> {
  return withEngine(flags, async (engine) => {
    const container = await openContainer(engine, target);
    const stop = new AbortController();
    const copied = work(container, stop.signal);
    const forget = beforeSignalledExit(() => {
      stop.abort();
      return copied.catch(() => {});
    });
    try {
      await copied;
      return EXIT.ok;
    } finally {
      forget();
    }
  });
}

function badStream(why: string): CliError {
  return new CliError(EXIT.usage, `Cannot copy: ${why}`, { hint: "tapvisor cp box/web:/srv - > srv.tar" });
}
