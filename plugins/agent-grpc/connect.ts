import { type AgentClient, type AgentTarget, type Call, TapvisorError, withDeadline } from "tapvisor/plugin";
import { OWN_AGENT, RENEWAL_VERSION, healthServiceDefinition as rpc, type VersionCheckResponse } from "tapvisor/protocol";
import { createClient } from "./client.ts";
import { type Failure, isUnimplemented } from "./errors.ts";
import { overKata } from "./kata-agent.ts";
import { DEADLINES } from "./limits.ts";
import { type Link, openLink } from "./link.ts";
import { unary } from "./unary.ts";

/** What is known of a guest that goes on from a saved one, whose agent was ours and of this version. */
const GOES_ON: VersionCheckResponse = {
  grpc_version: "",
  agent_version: OWN_AGENT,
  tapvisor_data_streams: 1,
  tapvisor_renewal: RENEWAL_VERSION,
};

/**
 * Connects through the target's transport and resolves when the agent says that it serves. How long the guest may take to boot is the
 * transport's matter (until `call.signal`); from the first byte on the agent has 15 s.
 *
 * @throws UNSUPPORTED without a transport, HOST_LIMIT when the socket's path is too long, AGENT_LOST, AGENT_FAILED, TIMEOUT, ABORTED.
 */
export async function connect(target: AgentTarget, call: Call): Promise<AgentClient> {
  const { sandbox, transport, endpoint, runDirectory } = target;
  if (!transport) {
    throw new TapvisorError("UNSUPPORTED", `Cannot connect to the agent of sandbox "${sandbox}": no transport, wanted one`, {
      data: { what: "an agent without a transport", by: "agent-grpc" },
      hint: "Choose a transport for the sandbox, serial say",
    });
  }
  const connection = await transport.connect(endpoint, call);
  const link = openLink(sandbox, connection, runDirectory);
  if (target.goesOn) return createClient(link, GOES_ON);
  try {
    return await withDeadline(
      { what: `the agent of sandbox "${sandbox}"`, timeoutMs: DEADLINES.Check, signal: call.signal },
      async (signal) => {
        // What the channel cannot be made for is more to the point than that a call over it has failed.
        const [version] = await Promise.all([greet(link, { ...call, signal }), link.unlinked()]);
        const client = createClient(link, version);
        return version?.agent_version.startsWith(OWN_AGENT) ? client : overKata(client);
      },
    );
  } catch (error) {
    await link.close().catch((late) => call.log.warn({ err: late }, "cannot close the agent connection"));
    throw error;
  }
}

/** Check and Version at once: one round trip. */
async function greet(link: Link, call: Call): Promise<VersionCheckResponse | undefined> {
  const subject = `sandbox "${link.sandbox}"`;
  const request = { service: "" };
  const [{ status }, version] = await Promise.all([
    unary(link, { name: "Check", method: rpc.Check, request, subject, timeoutMs: DEADLINES.Check }, call),
    unary(
      link,
      {
        name: "Version",
        method: rpc.Version,
        request,
        subject,
        timeoutMs: DEADLINES.Version,
        answerFor: (failure: Failure) =>
          isUnimplemented(failure) ? { grpc_version: "", agent_version: "", tapvisor_data_streams: 0, tapvisor_renewal: 0 } : undefined,
      },
      call,
    ),
  ]);
  if (status === "SERVING") return version;
  throw new TapvisorError("AGENT_FAILED", `Cannot use the agent of ${subject}: it is not serving`, {
    data: { method: "Check", status: "NOT_SERVING" },
  });
}
