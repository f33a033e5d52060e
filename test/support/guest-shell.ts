import type { Container, Sandbox } from "tapvisor";

const MARK = "end-of-answer";
/** Runs each line of its input, then prints its exit code behind the mark. */
const LOOP = `while read -r line; do eval "$line"; echo "${MARK} $?"; done`;

/** A container whose shell answers questions about the guest that it is in. */
export interface GuestShell extends AsyncDisposable {
  readonly container: Container;
  /** The output of a command line, without the end of its last line. @throws Error with it when the command fails. */
  ask(command: string): Promise<string>;
}

export async function guestShell(
  sandbox: Sandbox,
  options: Omit<Parameters<Sandbox["run"]>[0], "command"> & { readonly rootfs: string },
): Promise<GuestShell> {
  const container = await sandbox.run({ ...options, command: ["sh", "-c", LOOP] });
  return shellOf(container);
}

/** A shell that `guestShell` has started, also by another process. */
export function shellOf(container: Container): GuestShell {
  const lines = container.stdout.lines()[Symbol.asyncIterator]();
  return {
    container,
    async ask(command) {
      container.stdin.write(`${command}\n`);
      const answer: string[] = [];
      for (;;) {
        const { value, done } = await lines.next();
        if (done) throw new Error(`the shell has ended while it was asked: ${command}`);
        if (value.startsWith(`${MARK} `)) {
          if (value === `${MARK} 0`) return answer.join("\n");
          throw new Error(`"${command}" ended with ${value.slice(MARK.length + 1)}: ${answer.join("\n")}`);
        }
        answer.push(value);
      }
    },
    [Symbol.asyncDispose]: () => container[Symbol.asyncDispose](),
  };
}
