import { TapvisorError } from "../base/errors.ts";
import type { HoldingKind, Json } from "../contracts/holding.ts";
import { SLOT_NAMES, type SlotName } from "../contracts/slots.ts";
import type { SlotRegistry } from "./slot-registry.ts";

/** A holder of holdings whose intents and grants the engine passes on without looking at them. */
export type AnyHolder = HoldingKind<Json, Json>;

/** The owner of the holdings that the engine itself acquires. */
export const ENGINE = "engine";

/** Finds who acquires and releases a kind of holding: a slot's provider, or the engine itself for one sandbox. */
export class Holders {
  readonly #slots: SlotRegistry;
  readonly #own: Readonly<Record<string, unknown>>;

  constructor(slots: SlotRegistry, own: Readonly<Record<string, unknown>>) {
    this.#slots = slots;
    this.#own = own;
  }

  /** @throws NOT_FOUND when the owner's plugin is not loaded, UNSUPPORTED when it has no such kind. */
  async get(owner: string, kind: string): Promise<AnyHolder> {
    const kinds = owner === ENGINE ? this.#own : await this.#kindsOf(owner);
    const holder = kinds[kind] as AnyHolder | undefined;
    if (holder) return holder;
    throw new TapvisorError("UNSUPPORTED", `Cannot hold a ${kind}: ${owner} has no such thing`, { data: { what: kind, by: owner } });
  }

  async #kindsOf(owner: string): Promise<Readonly<Record<string, unknown>>> {
    const [slot, name] = owner.split(":", 2) as [string, string];
    if (!SLOT_NAMES.includes(slot as SlotName)) throw new TapvisorError("INTERNAL", `Cannot read the owner "${owner}"`, { data: {} });
    const provider = (await this.#slots.get(slot as SlotName, name)) as { readonly holdings?: Readonly<Record<string, unknown>> };
    return provider.holdings ?? {};
  }
}
