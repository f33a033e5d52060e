import { connectTerminal, requireTerminal, terminalSize } from "./connect-terminal.ts";
import { type EngineFlags, withEngine } from "./open-engine.ts";
import { openContainer } from "./target.ts";

export interface AttachFlags extends EngineFlags {
  /** `false` with `--no-stdin`. */
  readonly stdin?: boolean;
}

/** `tapvisor attach <target>`: connects this terminal with a container's own process until that ends; gives its exit code. */
export function attachCommand(target: string, { stdin: interactive = true, ...flags }: AttachFlags): Promise<number> {
  return withEngine(flags, async (engine) => {
    const container = await openContainer(engine, target);
    const { tty } = container.status();
    if (tty && interactive) {
      requireTerminal();
      await container.resizeTty(terminalSize());
    }
    return (await connectTerminal(container, { interactive, tty: tty && interactive })).exitCode;
  });
}
