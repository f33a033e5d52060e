import { type AgentClient, type AgentIdentity, TapvisorError } from "tapvisor/plugin";
import { agentSuite } from "tapvisor/testing";
import { suite } from "../../support/suite.ts";
import { client, deaf, type MakeAgent } from "./amend-agent.ts";
import { type Defects, expectCaught } from "./expect-caught.ts";

const s = suite("agentSuite against agents whose guests are badly saved");

const refused = (method: string, status: string) => new TapvisorError("AGENT_FAILED", "no", { data: { method, status } });

/** With another identity. */
const identity = (amend: (honest: AgentIdentity, client: AgentClient) => Partial<AgentIdentity>): MakeAgent =>
  client((honest) => {
    if (!honest.identity) throw new Error("the fake has no identity");
    return { identity: { ...honest.identity, ...amend(honest.identity, honest) } };
  });

const OTHER = { machineId: "0".repeat(32), hostname: "other", entropy: new Uint8Array(64) };

const defects: Defects<MakeAgent> = {
  "says nothing of going on as another": [/is told from/, client(() => ({ identity: undefined as never }))],
  "says nonsense of its clock": [/how far the clock/, identity(() => ({ renew: async () => ({ clockErrorMs: Number.NaN }) }))],
  "is ahead of itself": [/how far the clock/, identity(() => ({ renew: async () => ({ clockErrorMs: -1 }) }))],
  "is renewed once": [
    /as often as it is asked/,
    identity((honest) => {
      let renewed = false;
      return {
        renew: async (...args) => {
          if (renewed) throw refused("Renew", "FAILED_PRECONDITION");
          renewed = true;
          return honest.renew(...args);
        },
      };
    }),
  ],
  "is renewed only when it was prepared": [
    /prepared or not/,
    identity((honest) => {
      let prepared = false;
      return {
        prepareToBeSaved: async (call) => {
          await honest.prepareToBeSaved(call);
          prepared = true;
        },
        renew: async (...args) => {
          if (!prepared) throw refused("Renew", "FAILED_PRECONDITION");
          prepared = false;
          return honest.renew(...args);
        },
      };
    }),
  ],
  ...Object.fromEntries(
    (["entropy", "machineId", "hostname"] as const).map((field) => [
      `takes whatever ${field} it is given`,
      [
        /by the name of its field/,
        identity((honest) => ({ renew: (given, call) => honest.renew({ ...given, [field]: OTHER[field] }, call) })),
      ],
    ]),
  ),
  "keeps the sandbox of its warm-up": [
    /leaves no sandbox/,
    identity((_, honest) => ({ warmUp: (call) => honest.createSandbox({ hostname: "w", sandbox: "w", storages: [] }, call) })),
  ],
  "is warmed up once": [
    /can be repeated/,
    identity((honest) => {
      let warm = false;
      return {
        warmUp: async (call) => {
          if (warm) throw refused("OfferImage", "ALREADY_EXISTS");
          warm = true;
          await honest.warmUp(call);
        },
      };
    }),
  ],
  "warms up around a sandbox": [/with a sandbox/, identity(() => ({ warmUp: async () => {} }))],
  "takes the sandbox away to be warmed up": [
    /keeps its sandbox/,
    identity((honest, own) => ({
      warmUp: async (call) => {
        const failed = await honest.warmUp(call).catch((error: unknown) => error);
        await own.destroySandbox(call);
        if (failed) throw failed;
      },
    })),
  ],
  "prepares a sandbox to be saved": [/nor prepared/, identity(() => ({ prepareToBeSaved: async () => {} }))],
  ...Object.fromEntries(
    (["warmUp", "prepareToBeSaved"] as const).map((verb) => [
      `does not hear who gives ${verb} up`,
      [
        /signal has fired/,
        identity((honest) => ({ [verb]: (call: Parameters<AgentIdentity["warmUp"]>[0]) => honest[verb]({ ...call, ...deaf }) })),
      ],
    ]),
  ),
  "does not hear who gives renew up": [
    /signal has fired/,
    identity((honest) => ({ renew: (given, call) => honest.renew(given, { ...call, ...deaf }) })),
  ],
};

expectCaught(s, defects, (name, make, options) => agentSuite(name, make, options));

s.run();
