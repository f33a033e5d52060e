import { OWN_AGENT, RENEWAL_VERSION, type VersionCheckResponse } from "tapvisor/protocol";
import { AGENT_VERSION, PROTOCOL_VERSION } from "../version.ts";

export async function version(): Promise<VersionCheckResponse> {
  return {
    grpc_version: PROTOCOL_VERSION,
    agent_version: `${OWN_AGENT}${AGENT_VERSION}`,
    tapvisor_data_streams: 1,
    tapvisor_renewal: RENEWAL_VERSION,
  };
}
