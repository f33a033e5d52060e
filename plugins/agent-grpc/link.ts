import { type Client, connectivityState } from "@grpc/grpc-js";
import { messageOf, TapvisorError, type TransportConnection, withDeadline } from "tapvisor/plugin";
import { type GrpcChannel as Channel, dial } from "./dial.ts";
import { guestText } from "./guest-text.ts";
import { lazily } from "./lazily.ts";
import { CLOSE_TIMEOUT_MS, GRACE_MS } from "./limits.ts";

/** One gRPC connection, alive until `lost` settles. */
export interface Link {
  readonly sandbox: string;
  readonly client: Pick<Client, "makeUnaryRequest">;
  /** Why no call can succeed any more: the connection is gone or closed. */
  over(): TapvisorError<"AGENT_LOST"> | undefined;
  /** The agent takes no new calls, what is pending may still be answered: it ends in a loss within a second. */
  isGoingDown(): boolean;
  /** Opens one more stream of the connection. */
  openStream: TransportConnection["openStream"];
  /** Declares the connection lost. */
  lose(): void;
  /** Calls back once when the link is over, at once and before any other code runs. Returns how to undo that. */
  onOver(listener: (reason: TapvisorError<"AGENT_LOST">) => void): () => void;
  /** The reason when the connection was lost, undefined when it was closed. Never rejects. */
  readonly lost: Promise<Error | undefined>;
  /** Settles when nothing of the link stands in the file system any more, with the reason there is no channel when it could not be made. */
  unlinked(): Promise<void>;
  /** Waits at most 2 s for the transport. Idempotent. */
  close(): Promise<void>;
}

/**
 * A link over the connection, which belongs to it from here on. Its calls are gRPC's over one stream of the connection, which is opened with the first of them:
 * a guest that goes on from a saved one would have to run through HTTP/2 before it could answer anything else.
 */
export function openLink(sandbox: string, connection: TransportConnection, runDirectory: string): Link {
  const listeners = new Set<(reason: TapvisorError<"AGENT_LOST">) => void>();
  let reason: TapvisorError<"AGENT_LOST"> | undefined;
  let grace: NodeJS.Timeout | undefined;
  let settleLost: (error: Error | undefined) => void = () => {};
  const lost = new Promise<Error | undefined>((resolve) => {
    settleLost = resolve;
  });
  let channel: Promise<Channel> | undefined;
  const finish = (error: TapvisorError<"AGENT_LOST">, wasLost: boolean) => {
    if (reason) return;
    reason = error;
    clearTimeout(grace);
    for (const listener of listeners) listener(error);
    listeners.clear();
    channel?.then(
      ({ client }) => client.close(),
      () => {},
    );
    settleLost(wasLost ? error : undefined);
  };
  let released: Promise<void> | undefined;
  const release = () => {
    const closeBridge = channel?.then(
      ({ bridge }) => bridge.close(),
      () => {}, // it was never there
    );
    released ??= Promise.all([closeBridge, closeInTime(sandbox, connection)]).then(() => {});
    return released;
  };
  const lose = (cause?: Error) => {
    if (reason) return;
    finish(agentLost(sandbox, cause), true);
    release().catch(() => {}); // `close` reports it
  };
  connection.closed.then(lose);
  const openChannel = async () => {
    const opened = await dial(connection, runDirectory);
    opened.bridge.ended.then(lose);
    watch(opened.client, () => {
      grace ??= setTimeout(lose, GRACE_MS);
    });
    if (reason) opened.client.close();
    return opened;
  };
  const ready = () => {
    channel ??= openChannel();
    return channel;
  };
  return {
    sandbox,
    client: { makeUnaryRequest: lazily(ready) },
    lost,
    unlinked: () => ready().then(({ bridge }) => bridge.unlinked),
    over: () => reason,
    isGoingDown: () => grace !== undefined,
    openStream: (options) => connection.openStream(options),
    lose,
    onOver: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => {
      finish(closed(sandbox), false);
      return release();
    },
  };
}

/**
 * grpc-js would dial again by itself; here nothing listens any more, so once the channel has been up, any other state is the beginning of
 * the end: the connection broke, or the agent said that it takes no new calls (GOAWAY) and still answers the pending ones.
 */
function watch(client: Client, onDown: () => void): void {
  const channel = client.getChannel();
  let wasUp = false;
  const look = () => {
    const state = channel.getConnectivityState(false);
    if (state === connectivityState.SHUTDOWN) return;
    if (state === connectivityState.READY) wasUp = true;
    else if (wasUp || state === connectivityState.TRANSIENT_FAILURE) return onDown();
    channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, look);
  };
  look();
}

/** @throws TIMEOUT after 2 s. */
export function closeInTime(sandbox: string, connection: TransportConnection): Promise<void> {
  return withDeadline({ what: `the agent connection of sandbox "${sandbox}" to close`, timeoutMs: CLOSE_TIMEOUT_MS }, () =>
    connection.close(),
  );
}

function agentLost(sandbox: string, cause: Error | undefined): TapvisorError<"AGENT_LOST"> {
  const why = cause ? guestText(messageOf(cause)) : "the connection ended";
  return new TapvisorError("AGENT_LOST", `Lost the agent of sandbox "${sandbox}": ${why}`, {
    data: { id: sandbox },
    cause,
    hint: "The guest may have crashed or been stopped: look at its console",
  });
}

function closed(sandbox: string): TapvisorError<"AGENT_LOST"> {
  return new TapvisorError("AGENT_LOST", `Cannot reach the agent of sandbox "${sandbox}": its connection has been closed`, {
    data: { id: sandbox },
  });
}
