import type { Vm } from "tapvisor/plugin";
import { hypervisorSuite, quietCall } from "tapvisor/testing";
import { suite } from "../../support/suite.ts";
import { amended, type Kind, kind, type MakeHypervisor, unheard, view } from "./amend-hypervisor.ts";
import { type Defects, expectCaught } from "./expect-caught.ts";

const s = suite("hypervisorSuite against broken hypervisors");

const vmKind = kind("vm");
const shareKind = kind("share");
type ShareKind = Kind<"share">;

const unheardCall = () => ({ ...quietCall(), ...unheard });

const defects: Defects<MakeHypervisor> = {
  "fails at a second release": [
    /again with success/,
    vmKind((vm) => {
      const released = new Set<string>();
      return {
        release: async (held, call) => {
          if (released.has(held.intent.nonce)) throw new Error("released already");
          released.add(held.intent.nonce);
          await vm.release(held, call);
        },
      };
    }),
  ],
  "releases nothing without a grant": [
    /by its intent alone/,
    vmKind((vm) => ({ release: async (held, call) => (held.grant ? vm.release(held, call) : undefined) })),
  ],
  "keeps an object of this process instead of finding its VM by the intent": [
    /after JSON/,
    vmKind((vm) => {
      const mine = new WeakSet<object>();
      return {
        acquire: (intent, call) => {
          mine.add(intent);
          return vm.acquire(intent, call);
        },
        release: async (held, call) => (mine.has(held.intent) ? vm.release(held, call) : undefined),
      };
    }),
  ],
  "cannot release what was never acquired": [
    /never acquired/,
    vmKind((vm) => {
      const acquired = new Set<string>();
      return {
        acquire: (intent, call) => {
          acquired.add(intent.nonce);
          return vm.acquire(intent, call);
        },
        release: async (held, call) => {
          if (!acquired.has(held.intent.nonce)) throw new Error("not found");
          await vm.release(held, call);
        },
      };
    }),
  ],
  "leaves the VM when a release is asked for": [/gives the VM back/, vmKind(() => ({ release: async () => {} }))],
  "hangs in release": [/gives the VM back/, vmKind(() => ({ release: () => new Promise(() => {}) }))],
  "goes by the sandbox's name alone": [
    /late release|own nonce/,
    amended((h) => {
      const nonces = new Map<string, string>();
      const { vm } = h.holdings;
      return {
        ...h,
        holdings: {
          ...h.holdings,
          vm: {
            acquire: (intent, call) => {
              nonces.set(intent.sandbox, intent.nonce);
              return vm.acquire(intent, call);
            },
            release: ({ intent, grant }, call) =>
              vm.release({ intent: { ...intent, nonce: nonces.get(intent.sandbox) ?? intent.nonce }, grant }, call),
          },
        },
      };
    }),
  ],
  "acquires and then says that it was aborted": [
    /signal that has fired fails and leaves nothing/,
    vmKind((vm) => ({
      acquire: async (intent, call) => {
        const grant = await vm.acquire(intent, unheardCall());
        call.signal.throwIfAborted();
        return grant;
      },
    })),
  ],
  "does not look at the signal": [
    /acquire\(\) with a signal/,
    vmKind((vm) => ({ acquire: (intent) => vm.acquire(intent, unheardCall()) })),
  ],
  "starts whatever it is asked for": [
    /what cannot be/,
    vmKind((vm) => ({ acquire: (intent, call) => vm.acquire({ ...intent, vcpus: 1 }, call) })),
  ],
  "leaves a VM when it refuses": [
    /what cannot be/,
    vmKind((vm) => ({
      acquire: async (intent, call) => {
        const grant = await vm.acquire({ ...intent, vcpus: 1 }, call);
        if (intent.vcpus < 1) throw new Error("no vCPU");
        return grant;
      },
    })),
  ],
  "grants what JSON loses": [
    /survives JSON/,
    vmKind((vm) => ({ acquire: async (intent, call) => ({ ...(await vm.acquire(intent, call)), since: new Date() }) })),
  ],
  "grants another VM than was asked for": [
    /grants the VM that was asked for/,
    vmKind((vm) => ({ acquire: async (intent, call) => ({ ...(await vm.acquire(intent, call)), nonce: "another-one-0123456789" }) })),
  ],
  "never settles exited": [/exited/, view(() => ({ exited: new Promise(() => {}) }))],
  "settles exited while the VM runs": [
    /exited is open/,
    view(() => ({ exited: Promise.resolve({ exitCode: 0, signal: null, expected: false }) })),
  ],
  "calls a crash expected": [/not expected/, view((vm) => ({ exited: vm.exited.then((exit) => ({ ...exit, expected: true })) }))],
  "calls a release unexpected": [
    /release as expected/,
    view((vm) => ({ exited: vm.exited.then((exit) => ({ ...exit, expected: false })) })),
  ],
  "lies about pausing": [/what the capability says/, view(() => ({ pause: async () => {} }))],
  "can pause and says that it cannot": [
    /what the capability says/,
    amended((h) => ({ ...h, capabilities: { ...h.capabilities, pause: false } })),
  ],
  "says that it shares and has no holding for it": [/capability to share/, amended((h) => ({ ...h, holdings: { vm: h.holdings.vm } }))],
  "has shares and does not say so": [
    /capability to share/,
    amended((h) => ({ ...h, capabilities: { ...h.capabilities, shareHotplug: false } })),
  ],
  "connects to what is dead": [
    /has died is VM_FAILED/,
    amended((h) => ({ ...h, connect: (grant, call) => h.connect(grant, call).catch(() => ({}) as Vm) })),
  ],
  "ends the VM at disconnect": [
    /lets the VM go on/,
    amended((h) => ({
      ...h,
      connect: async (grant, call) => ({
        ...(await h.connect(grant, call)),
        disconnect: () => h.holdings.vm.release({ intent: grant as never, grant }, quietCall()),
      }),
    })),
  ],
  "has one connection for all views": [
    /another one working/,
    amended((h) => {
      let open = 0;
      return {
        ...h,
        connect: async (grant, call) => {
          const vm = await h.connect(grant, call);
          const mine = ++open;
          const alive = () => {
            if (open < mine) throw new Error("closed");
          };
          return {
            ...vm,
            status: async (c) => {
              alive();
              return vm.status(c);
            },
            disconnect: async () => {
              open = 0;
              await vm.disconnect();
            },
          };
        },
      };
    }),
  ],
  "passes on what the guest prints": [
    /escapes what the guest prints/,
    view(() => ({ diagnostics: async () => ({ console: "\x1b[31mred end", stderr: "" }) })),
  ],
  "keeps all that the guest prints": [
    /is bounded/,
    view(() => ({ diagnostics: async () => ({ console: "A".repeat(2 ** 20), stderr: "" }) })),
  ],
  "reports nothing about the host": [/inspectHost/, amended((h) => ({ ...h, inspectHost: async () => [] }))],
  "leaves a share at its release": [/given back twice/, shareKind(() => ({ release: async () => {} }))],
  "fails to release a share of a dead VM": [
    /of a VM that has died/,
    amended((h) => {
      const { share } = h.holdings;
      if (!share) return h;
      const release: ShareKind["release"] = async (held, call) => {
        await h.connect(held.intent.vm, call);
        await share.release(held, call);
      };
      return { ...h, holdings: { ...h.holdings, share: { ...share, release } } };
    }),
  ],
  "needs a share's grant to release it": [
    /by its intent alone/,
    shareKind((share) => ({ release: async (held, call) => (held.grant ? share.release(held, call) : undefined) })),
  ],
  "plugs two shares of one id": [
    /second share of an id/,
    shareKind((share) => ({ acquire: (intent, call) => share.acquire(intent, call).catch(() => ({ id: intent.id }) as never) })),
  ],
  "shares what is not there": [
    /does not exist/,
    shareKind((share) => ({
      acquire: (intent, call) =>
        share.acquire({ ...intent, entries: intent.entries.filter(({ source }) => !source.includes("nonexistent")) }, call),
    })),
  ],
};

expectCaught(s, defects, (name, make, options) => hypervisorSuite(name, make, options));

s.run();
