import { Metadata, type MethodDefinition, type ServiceError, status } from "@grpc/grpc-js";
import { type Call, TapvisorError } from "tapvisor/plugin";
import { type Failure, toTapvisorError } from "./errors.ts";
import type { DEADLINES } from "./limits.ts";
import type { Link } from "./link.ts";

/** What grpc-js says of the calls of a connection that breaks. */
const ofBrokenConnection: ReadonlySet<number> = new Set([status.UNAVAILABLE, status.CANCELLED, status.INTERNAL]);

export interface Unary<Request, Response> {
  readonly name: keyof typeof DEADLINES;
  readonly method: MethodDefinition<Request, Response>;
  readonly request: Request;
  /** What the call is about, as it stands in an error: `container "web"`. */
  readonly subject: string;
  /** The command that the container runs, where the call can fail because of it. */
  readonly command?: string | undefined;
  /** The file that the call is about, where it is about one. */
  readonly path?: string | undefined;
  /** ms; none when undefined. */
  readonly timeoutMs: number | undefined;
  /** The answer that a failure amounts to, if it does. */
  readonly answerFor?: ((failure: Failure) => Response | undefined) | undefined;
}

/**
 * Makes one call. It ends at its deadline, at `call.signal`, or when the link is over, whichever comes first.
 *
 * @throws AGENT_FAILED, AGENT_LOST, TIMEOUT, ABORTED, GUEST_PROTOCOL, COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE.
 */
export function unary<Request, Response>(link: Link, unary: Unary<Request, Response>, { signal }: Call): Promise<Response> {
  const { name, method, subject, timeoutMs } = unary;
  const over = link.over();
  if (over) return Promise.reject(over);
  if (signal.aborted) return Promise.reject(aborted(name, subject, signal));
  const bytes = method.requestSerialize(unary.request);
  return new Promise((resolve, reject) => {
    let unreadable = false;
    const read = (answer: Buffer): Response => {
      try {
        return method.responseDeserialize(answer);
      } catch (error) {
        unreadable = true;
        throw error;
      }
    };
    const running = link.client.makeUnaryRequest(
      method.path,
      (sent: Buffer) => sent,
      read,
      bytes,
      new Metadata({ waitForReady: true }), // the first call is made while the channel connects; after that it ends with the link
      timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs },
      (error: ServiceError | null, answer?: Response) => {
        if (!error && answer !== undefined) settle(() => resolve(answer));
        else if (error) failed(failureOf(unary, error, unreadable));
      },
    );
    const failed = (failure: Failure) => {
      // A broken connection fails its calls first and is noticed a turn later: look again before blaming the agent.
      setImmediate(() => {
        if (link.isGoingDown() && ofBrokenConnection.has(failure.code)) link.lose();
        const answer = link.over() ? undefined : unary.answerFor?.(failure);
        settle(() => (answer === undefined ? reject(link.over() ?? toTapvisorError(failure)) : resolve(answer)));
      });
    };
    const giveUp = (error: TapvisorError) => {
      settle(() => reject(error));
      running.cancel();
    };
    const onAbort = () => giveUp(aborted(name, subject, signal));
    const forget = link.onOver(giveUp);
    signal.addEventListener("abort", onAbort, { once: true });
    let settled = false;
    const settle = (outcome: () => void) => {
      if (settled) return;
      settled = true;
      forget();
      signal.removeEventListener("abort", onAbort);
      outcome();
    };
  });
}

function aborted(name: string, subject: string, signal: AbortSignal): TapvisorError<"ABORTED"> {
  const what = `${name} of ${subject}`;
  return new TapvisorError("ABORTED", `Cannot finish ${what}: the caller gave up`, { data: { what }, cause: signal.reason });
}

/** grpc-js leaves out some of the fields of its own type when an answer could not be decompressed. */
function failureOf(
  unary: Pick<Failure, "name" | "subject" | "command" | "path" | "timeoutMs">,
  error: Partial<ServiceError>,
  unreadable: boolean,
): Failure {
  const { code = status.UNKNOWN, details = "no reason given", metadata = new Metadata() } = error;
  const { name, subject, command, path, timeoutMs } = unary;
  return { name, subject, command, path, timeoutMs, code, text: details, metadata, unreadable };
}
