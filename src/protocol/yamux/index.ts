export { type AcceptOptions, acceptSessions, type BytePort, SESSION_BEGUN } from "./accept.ts";
export { encodeHeader, FLAG, FrameDecoder, type FrameSink, GO_AWAY, HEADER_BYTES, TYPE, WINDOW_BYTES } from "./codec.ts";
export { wasReset } from "./errors.ts";
export { type OverDuplexOptions, yamuxOver } from "./over-duplex.ts";
export type { PingOptions } from "./pings.ts";
export {
  ANNOUNCEMENT_BYTES,
  AnnouncementScanner,
  type AnnouncementSink,
  AnswerScanner,
  announcement,
  answer,
  type Nonce,
  newNonce,
} from "./resync.ts";
export type { SessionOutput } from "./sender.ts";
export { type SessionOptions, YamuxSession } from "./session.ts";
export { YamuxStream } from "./stream.ts";
