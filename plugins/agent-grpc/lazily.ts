import { type Client, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { messageOf } from "tapvisor/plugin";
import type { GrpcChannel } from "./dial.ts";

type MakeUnaryRequest = Client["makeUnaryRequest"];

/** The call of a client that there is only with its first call; `UNAVAILABLE` when there is none then, or it has been closed. */
export function lazily(ready: () => Promise<GrpcChannel>): MakeUnaryRequest {
  const make = (...args: readonly unknown[]) => {
    let cancelled = false;
    let running: { cancel(): void } | undefined;
    ready()
      .then(({ client }) => {
        if (!cancelled) running = Reflect.apply(client.makeUnaryRequest, client, args) as { cancel(): void };
      })
      .catch((error: unknown) => {
        const callback = args.at(-1) as (error: Partial<ServiceError>) => void;
        callback({ code: status.UNAVAILABLE, details: messageOf(error), metadata: new Metadata() });
      });
    return {
      cancel: () => {
        cancelled = true;
        running?.cancel();
      },
    };
  };
  return make as unknown as MakeUnaryRequest;
}
