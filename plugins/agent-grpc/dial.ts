import { type ChannelOptions, Client, credentials } from "@grpc/grpc-js";
import type { TransportConnection } from "tapvisor/plugin";
import { type Bridge, openBridge } from "./bridge.ts";
import { escapeGrpcLog } from "./grpc-log.ts";
import { MAX_RECEIVE_BYTES, MAX_SEND_BYTES, MAX_STREAM_BYTES } from "./limits.ts";

const OPTIONS: ChannelOptions = {
  "grpc.max_receive_message_length": MAX_RECEIVE_BYTES,
  "grpc.max_send_message_length": MAX_SEND_BYTES,
  "grpc-node.flow_control_window": MAX_STREAM_BYTES, // one full read without a wait for the window
  "grpc.client_idle_timeout_ms": 2 ** 31 - 1, // by default a channel without calls is closed after 30 minutes, and this one cannot be dialled twice
  "grpc.enable_retries": 0,
  "grpc.enable_channelz": 0,
  "grpc.enable_http_proxy": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.use_local_subchannel_pool": 1,
};

export interface GrpcChannel {
  readonly client: Client;
  readonly bridge: Bridge;
}

/** Opens a stream of the connection, and a grpc-js client on it. @throws HOST_LIMIT, what the connection throws. */
export async function dial(connection: TransportConnection, runDirectory: string): Promise<GrpcChannel> {
  escapeGrpcLog();
  const stream = await connection.openStream();
  const bridge = await openBridge(runDirectory, stream).catch((error) => {
    stream.destroy();
    throw error;
  });
  return { client: new Client(`unix:${bridge.path}`, credentials.createInsecure(), OPTIONS), bridge };
}
