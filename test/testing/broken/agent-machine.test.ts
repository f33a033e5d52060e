import { isTapvisorError, TapvisorError } from "tapvisor/plugin";
import { agentSuite } from "tapvisor/testing";
import { suite } from "../../support/suite.ts";
import { client, deaf, type MakeAgent } from "./amend-agent.ts";
import { type Defects, expectCaught } from "./expect-caught.ts";

const s = suite("agentSuite against agents that are bad with the network and with the guest as a machine");

const answers = (method: string, status: string) => new TapvisorError("AGENT_FAILED", "no", { data: { method, status } });
/** Whatever is refused, is said to be done. */
const orElse = <T>(work: Promise<T>, instead: () => T | Promise<T>) =>
  work.catch((error: unknown) => {
    if (isTapvisorError(error)) return instead();
    throw error;
  });

const network: Defects<MakeAgent> = {
  "has no loopback interface": [/loopback interface/, client(() => ({ listInterfaces: async () => [] }))],
  "lists an interface with a name that is none": [
    /in bounds/,
    client((honest) => ({
      listInterfaces: async (call) => (await honest.listInterfaces(call)).map((each) => ({ ...each, mac: `${each.mac}\u001b[31m` })),
    })),
  ],
  "lists a route through an interface that it does not list": [
    /in bounds/,
    client(() => ({ listRoutes: async () => [{ destination: "10.0.0.0/8", device: "hidden0" }] })),
  ],
  "updates an interface that is not there": [
    /not there is refused/,
    client((honest) => ({ updateInterface: (wanted, call) => orElse(honest.updateInterface(wanted, call), () => wanted) })),
  ],
  "fails to remove what is not there": [
    /removeInterface\(\) is success/,
    client(() => ({ removeInterface: () => Promise.reject(answers("RemoveInterface", "NOT_FOUND")) })),
  ],
  "takes every name": [
    /by the name of its field/,
    client((honest) => ({ updateInterface: (wanted, call) => honest.updateInterface({ ...wanted, name: "net0" }, call) })),
  ],
  "takes every route": [/by the name of its field/, client(() => ({ updateRoutes: async () => [] }))],
  "takes every neighbour": [/by the name of its field/, client(() => ({ addArpNeighbors: async () => {} }))],
  "forgets the MTU": [
    /exactly these addresses/,
    client((honest) => ({ updateInterface: (wanted, call) => honest.updateInterface({ ...wanted, mtu: 1500 }, call) })),
  ],
  "keeps the addresses that there were": [
    /exactly these addresses/,
    client((honest) => ({
      updateInterface: async (wanted, call) => {
        const before = (await honest.listInterfaces(call)).find(({ mac }) => mac === wanted.mac)?.addresses ?? [];
        const kept = before.filter(({ address }) => !wanted.addresses.some((each) => each.address === address));
        await honest.updateInterface({ ...wanted, addresses: [...wanted.addresses, ...kept] }, call);
        return wanted;
      },
    })),
  ],
  "says what was asked for and does nothing": [/exactly these/, client(() => ({ updateInterface: async (wanted) => wanted }))],
  "adds nothing": [/addInterface\(\) of a card/, client(() => ({ addInterface: async (wanted) => wanted }))],
  "removes nothing": [/takes its addresses/, client(() => ({ removeInterface: async () => {} }))],
  "leaves half of an update": [
    /updateInterface\(\) that fails leaves/,
    client((honest) => ({
      updateInterface: async (wanted, call) => {
        if (wanted.name === "lo") await honest.updateInterface({ ...wanted, name: "half0" }, call);
        return honest.updateInterface(wanted, call);
      },
    })),
  ],
  "updates although the signal has fired": [
    /updateInterface\(\) that fails leaves/,
    client((honest) => ({
      updateInterface: async (wanted, call) => {
        const found = await honest.updateInterface(wanted, { ...call, ...deaf });
        call.signal.throwIfAborted();
        return found;
      },
    })),
  ],
  "adds routes to those that there are": [
    /replaces all routes/,
    client((honest) => ({
      updateRoutes: async (wanted, call) => {
        const kept = (await honest.listRoutes(call)).filter(({ destination }) => !wanted.some((each) => each.destination === destination));
        return honest.updateRoutes([...kept, ...wanted], call);
      },
    })),
  ],
  "answers with no routes": [
    /says which there are/,
    client((honest) => ({
      updateRoutes: async (...args) => {
        await honest.updateRoutes(...args);
        return [];
      },
    })),
  ],
  "removes the routes before it fails": [
    /updateRoutes\(\) that fails/,
    client((honest) => ({
      updateRoutes: async (wanted, call) => {
        await honest.updateRoutes([], call);
        return honest.updateRoutes(wanted, call);
      },
    })),
  ],
  "adds the routes that it can": [
    /updateRoutes\(\) that fails/,
    client((honest) => ({
      updateRoutes: (wanted, call) => orElse(honest.updateRoutes(wanted, call), () => honest.updateRoutes(wanted.slice(0, 1), call)),
    })),
  ],
  "refuses a neighbour that it has": [
    /added again and again/,
    client((honest) => {
      let added = false;
      return {
        addArpNeighbors: async (neighbors, call) => {
          if (added) throw answers("AddARPNeighbors", "ALREADY_EXISTS");
          await honest.addArpNeighbors(neighbors, call);
          added = true;
        },
      };
    }),
  ],
  "adds a neighbour nowhere": [
    /refused where there is no such interface/,
    client((honest) => ({ addArpNeighbors: (...args) => orElse(honest.addArpNeighbors(...args), () => {}) })),
  ],
};

const system: Defects<MakeAgent> = {
  "is never well": [/check\(\) resolves/, client(() => ({ check: () => Promise.reject(answers("Check", "NOT_SERVING")) }))],
  "is well although nobody asks any more": [
    /check\(\) resolves/,
    client((honest) => ({ check: (call) => honest.check({ ...call, ...deaf }) })),
  ],
  "takes no random bytes for some": [
    /reseedRandom\(\) takes/,
    client((honest) => ({ reseedRandom: (...args) => orElse(honest.reseedRandom(...args), () => {}) })),
  ],
  "takes few random bytes": [
    /reseedRandom\(\) takes/,
    client((honest) => ({
      reseedRandom: (data, call) =>
        data.length > 4096 ? Promise.reject(answers("ReseedRandomDev", "INVALID_ARGUMENT")) : honest.reseedRandom(data, call),
    })),
  ],
  "takes what is no time": [/refuses what is no time/, client(() => ({ setTime: async () => {} }))],
  "takes what is no address": [/refuses what is no address/, client(() => ({ probeMemory: async () => {} }))],
  "cannot say why it does not probe": [
    /finds memory itself/,
    client((honest) => ({
      probeMemory: (...args) =>
        honest.probeMemory(...args).catch((error: unknown) => {
          throw isTapvisorError(error) && error.code === "AGENT_FAILED" ? answers("MemHotplugByProbe", "INTERNAL") : error;
        }),
    })),
  ],
  "stops what it has not started": [/stops only after/, client(() => ({ stopTracing: async () => {} }))],
  "starts tracing twice": [/starts once/, client((honest) => ({ startTracing: (call) => orElse(honest.startTracing(call), () => {}) }))],
  "cannot stop tracing": [/tracing stops/, client(() => ({ stopTracing: () => Promise.reject(answers("StopTracing", "INTERNAL")) }))],
  "tells of memory that has not run out": [/waits until memory/, client(() => ({ nextOom: async () => "calm" }))],
  "tells of another container": [
    /says in which/,
    client((honest) => ({
      nextOom: async (call) => {
        await honest.nextOom(call);
        return "calm";
      },
    })),
  ],
  "forgets what happened while nobody asked": [
    /while nobody asked/,
    client((honest) => ({
      waitProcess: async (process, call) => {
        const code = await honest.waitProcess(process, call);
        if (process.container === "second") await honest.nextOom(call);
        return code;
      },
    })),
  ],
  "tells everything twice": [
    /while nobody asked/,
    client((honest) => {
      let last: string | undefined;
      return {
        nextOom: async (call) => {
          const again = last;
          last = undefined;
          if (again !== undefined) return again;
          last = await honest.nextOom(call);
          return last;
        },
      };
    }),
  ],
  "loses what was for one who gave up": [
    /none is lost to one who gave up/,
    client((honest) => ({
      nextOom: (call) => {
        const told = honest.nextOom({ ...call, ...deaf });
        const gone = new Promise<never>((_, reject) => call.signal.addEventListener("abort", () => reject(call.signal.reason)));
        gone.catch(() => {});
        return Promise.race([told, gone]);
      },
    })),
  ],
  "waits for the memory of no sandbox": [
    /ends with the sandbox/,
    client((honest) => ({ nextOom: (call) => orElse(honest.nextOom(call), () => new Promise<string>(() => {})) })),
  ],
  "makes no file": [/that a container can be given/, client(() => ({ copyFile: async () => {} }))],
  "makes no empty file": [
    /as many pieces/,
    client((honest) => ({ copyFile: async (file, ...rest) => (file.bytes === 0 ? undefined : honest.copyFile(file, ...rest)) })),
  ],
  "makes a file of what came": [
    /more or less than was said/,
    client((honest) => ({
      copyFile: async (file, content, call) => {
        const pieces: Uint8Array[] = [];
        for await (const piece of content) pieces.push(piece);
        await honest.copyFile({ ...file, bytes: Buffer.concat(pieces).length }, pieces, call);
      },
    })),
  ],
  "writes anywhere": [
    /none outside of the open directories/,
    client((honest) => ({
      copyFile: (file, ...rest) => (file.path.startsWith("/run/") ? honest.copyFile(file, ...rest) : Promise.resolve()),
    })),
  ],
  "makes a sandbox without what it asks for": [
    /asks for what there is not/,
    client((honest) => ({
      createSandbox: ({ hostname, sandbox, storages }, call) => honest.createSandbox({ hostname, sandbox, storages }, call),
    })),
  ],
  "keeps a sandbox that it refused": [
    /asks for what there is not/,
    client((honest) => {
      let refused = false;
      return {
        createSandbox: async (request, call) => {
          if (refused) throw answers("CreateSandbox", "ALREADY_EXISTS");
          await honest.createSandbox(request, call).catch((error: unknown) => {
            refused = true;
            throw error;
          });
        },
      };
    }),
  ],
};

for (const defects of [network, system]) {
  expectCaught(s, defects, (name, make, options) => agentSuite(name, make, options));
}

s.run();
