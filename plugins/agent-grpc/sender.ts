import type { MethodDefinition } from "@grpc/grpc-js";
import type { Call } from "tapvisor/plugin";
import type { Failure } from "./errors.ts";
import { DEADLINES } from "./limits.ts";
import type { Link } from "./link.ts";
import { unary } from "./unary.ts";

export interface SendOptions<Response> {
  /** What the call is about, as it stands in an error; the sandbox when absent. */
  readonly subject?: string;
  readonly command?: string;
  /** The file that the call is about. */
  readonly path?: string;
  readonly answerFor?: (failure: Failure) => Response | undefined;
}

/** Makes a call of the link under its own deadline. */
export type Send = <Request, Response>(
  name: keyof typeof DEADLINES,
  method: MethodDefinition<Request, Response>,
  request: Request,
  call: Call,
  options?: SendOptions<Response>,
) => Promise<Response>;

export function sender(link: Link): Send {
  return (name, method, request, call, options = {}) => {
    const { subject = `sandbox "${link.sandbox}"`, command, path, answerFor } = options;
    return unary(link, { name, method, request, subject, command, path, answerFor, timeoutMs: DEADLINES[name] }, call);
  };
}
