import type { Logger } from "../base/log.ts";
import type { Mutex } from "../base/mutex.ts";
import type { TemplatesConfig } from "../config/templates-config.ts";
import type { GuestProcess } from "../container/guest-process.ts";
import type { SlotName, Slots } from "../contracts/slots.ts";
import type { StateStore } from "../contracts/state-store.ts";
import type { Plan } from "../plan/plan.ts";
import type { GuestLink } from "../sandbox/guest-link.ts";
import type { Holders } from "./holders.ts";
import type { HookRunner } from "./hook-runner.ts";
import type { Journal } from "./journal.ts";
import type { LateWork } from "./late-work.ts";
import type { PluginHost } from "./plugin-host.ts";
import type { StepProbe } from "./probe.ts";

/** What one engine is made of; verbs get it instead of the Engine class. */
export interface EngineContext {
  readonly host: PluginHost;
  readonly hooks: HookRunner;
  readonly store: StateStore;
  /** Which provider fills each slot. */
  readonly providers: Readonly<Record<SlotName, string>>;
  readonly slot: <S extends SlotName>(slot: S) => Promise<Slots[S]>;
  /** Everything the engine keeps on the host lives below here. */
  readonly root: string;
  readonly log: Logger;
  readonly late: LateWork;
  readonly probe: StepProbe | undefined;
  /** The deadline of each release, ms. */
  readonly releaseTimeoutMs: number;
  readonly templates: TemplatesConfig;
  /** The ids of the sandboxes in which templates are being made. */
  readonly building: Set<string>;
  /** Told what each change would do, before it is made; only while a script is planned. */
  readonly onPlan?: ((plan: Plan) => void) | undefined;
}

/** What one sandbox is made of; its verbs and those of its containers get it. */
export interface SandboxContext {
  readonly engine: EngineContext;
  readonly id: string;
  readonly journal: Journal;
  readonly holders: Holders;
  readonly hooks: HookRunner;
  readonly guest: GuestLink;
  /** The processes this process follows, by container. */
  readonly processes: Map<string, GuestProcess>;
  /** One operation at a time. */
  readonly mutex: Mutex;
  readonly log: Logger;
  readonly late: LateWork;
  readonly probe: StepProbe | undefined;
  readonly releaseTimeoutMs: number;
}
