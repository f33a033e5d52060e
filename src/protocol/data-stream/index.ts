export { AcknowledgementReader, encodeAcknowledgement } from "./acknowledgement.ts";
export {
  beginsPreamble,
  type DataStreamAnswer,
  type DataStreamRequest,
  encodeAnswer,
  encodePreamble,
  MAX_LINE_BYTES,
  parseAnswer,
  parsePreamble,
  splitLine,
} from "./preamble.ts";
export {
  encodeClock,
  encodeRenewal,
  encodeRenewed,
  isKeepPreamble,
  KEEP_NOW,
  KEEP_PREAMBLE,
  parseClock,
  parseRenewal,
  parseRenewed,
  RENEWAL_VERSION,
  type Renewal,
  type RenewedAnswer,
} from "./renewal.ts";
