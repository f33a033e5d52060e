import { Metadata, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";
import { ERRNO_KEY, EXIT_CODE_KEY } from "tapvisor/protocol";
import type { DeliveryWatch } from "./delivery.ts";
import type { AgentLog } from "./log.ts";
import { ToolError } from "./runtime/tool-error.ts";
import { STATUS, StatusError, statusOf } from "./status.ts";

export interface RpcContext {
  /** Fires when the client gave up, its deadline passed, or the connection ended. */
  readonly signal: AbortSignal;
  /** Runs `undo` when the answer does not get as far as the connection. */
  onUndelivered(undo: () => void): void;
}

export type Handler<Request, Response> = (request: Request, context: RpcContext) => Promise<Response>;

/** A handler as grpc-js wants it; whatever it throws becomes a status, so that no request can end the agent. */
export function unary<Request, Response>(
  handler: Handler<Request, Response>,
  { delivery, log }: { delivery: DeliveryWatch; log: AgentLog },
) {
  return (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>): void => {
    const control = new AbortController();
    const undos: (() => void)[] = [];
    let ended = false;
    // grpc-js emits this at the end of every call, answered or not.
    call.once("cancelled", () => {
      ended = true;
      control.abort(new Error("the call has ended"));
      if (!delivery.delivered(call.metadata)) for (const undo of undos.splice(0)) undo();
    });
    const context: RpcContext = {
      signal: control.signal,
      onUndelivered: (undo) => (ended ? undo() : void undos.push(undo)),
    };
    Promise.resolve()
      .then(() => handler(call.request, context))
      .then((response) => callback(null, response))
      .catch((thrown: unknown) => {
        const { status, details, exitCode, errno } = statusOf(thrown);
        // What a tool has refused the client is told; what is left is a defect of the agent.
        if (status === "INTERNAL" && !(thrown instanceof StatusError || thrown instanceof ToolError) && !ended)
          log.error(details, { call: call.getPath(), stack: thrown instanceof Error ? thrown.stack : undefined });
        const metadata = new Metadata();
        if (exitCode !== undefined) metadata.set(EXIT_CODE_KEY, String(exitCode));
        if (errno !== undefined) metadata.set(ERRNO_KEY, errno);
        callback({ code: STATUS[status], details, metadata });
      });
  };
}
