import { isTapvisorError, TapvisorError } from "../base/errors.ts";
import type { AgentClient } from "../contracts/agent.ts";

/** What the guest printed last. */
export type LastWords = () => Promise<{ readonly console: string } | undefined>;

/** How many lines of the console stand in an error's text; `data.console` has what there is. */
const LINES = 5;

/** The client, whose AGENT_LOST errors tell what the guest printed last, a kernel's panic say; `onAnswer` hears of each call that succeeds. */
export function withLastWords(client: AgentClient, lastWords: LastWords, onAnswer: () => void): AgentClient {
  const explained = (error: unknown) => explainLoss(error, lastWords).then((loss) => Promise.reject(loss));
  const answered = <T>(answer: T): T => {
    onAnswer();
    return answer;
  };
  // An empty target: a proxy of the client itself could not give another function for one that a plugin has frozen.
  return new Proxy({} as AgentClient, {
    get(_, name) {
      const value: unknown = Reflect.get(client, name);
      if (typeof value !== "function") return value;
      return (...given: unknown[]) => {
        const result: unknown = value.apply(client, given);
        return result instanceof Promise ? result.then(answered, explained) : result;
      };
    },
    has: (_, name) => Reflect.has(client, name),
  });
}

/** An AGENT_LOST with the guest's last words; any other error as it is. Never rejects. */
export async function explainLoss(error: unknown, lastWords: LastWords): Promise<unknown> {
  if (!isTapvisorError(error) || error.code !== "AGENT_LOST" || error.data.console !== undefined) return error;
  const console = (await lastWords().catch(() => undefined))?.console;
  if (!console) return error;
  const lines = console.trimEnd().split("\n");
  // Behind a panic come its registers and its calls.
  const panic = lines.findLast((line) => line.includes("Kernel panic"));
  const said = panic === undefined ? `the console's last lines:\n${lines.slice(-LINES).join("\n")}` : `the console says: ${panic.trim()}`;
  return new TapvisorError("AGENT_LOST", `${error.message}; ${said}`, {
    data: { ...error.data, console },
    cause: error,
    ...(error.hint !== undefined && { hint: error.hint }),
  });
}
