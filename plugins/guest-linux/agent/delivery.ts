import { type Metadata, ServerInterceptingCall, type ServerInterceptor, ServerListenerBuilder } from "@grpc/grpc-js";

/** Tells, per call, whether its answer was handed to the connection: a call that ends without that leaves stream bytes for the next read. */
export interface DeliveryWatch {
  readonly interceptor: ServerInterceptor;
  /** `metadata` is the object the handler got: the one thing that handlers and interceptors of grpc-js share. */
  delivered(metadata: Metadata): boolean;
}

export function watchDelivery(): DeliveryWatch {
  const handedOver = new WeakSet<Metadata>();
  return {
    delivered: (metadata) => handedOver.has(metadata),
    interceptor: (_method, call) => {
      let received: Metadata | undefined;
      const listener = new ServerListenerBuilder()
        .withOnReceiveMetadata((metadata, next) => {
          received = metadata;
          next(metadata);
        })
        .build();
      return new ServerInterceptingCall(call, {
        start: (next) => next(listener),
        // grpc-js sends the status when the connection has taken the message, and not at all when that failed.
        sendStatus: (status, next) => {
          if (received && status.code === 0) handedOver.add(received);
          next(status);
        },
      });
    },
  };
}
