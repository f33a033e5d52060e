import { isTapvisorError, messageOf, TapvisorError } from "../base/errors.ts";
import type { SlotName, Slots } from "../contracts/slots.ts";

interface Provider {
  readonly plugin: string;
  readonly make: () => unknown;
  made?: Promise<unknown>;
  /** It is being made just now. */
  making?: boolean;
}

/** The providers of every slot, by name. Each is made once, when first used. */
export class SlotRegistry {
  readonly #providers = new Map<string, Provider>();
  /** What each plugin waits for while that is being made: one that waits for itself would wait for ever. */
  readonly #waits = new Map<string, Set<string>>();

  provide(plugin: string, slot: SlotName, name: string, make: () => unknown): void {
    const taken = this.#providers.get(`${slot}:${name}`);
    if (taken) {
      throw new TapvisorError(
        "PLUGIN_FAILED",
        `Plugin "${plugin}" cannot provide ${slot} "${name}": plugin "${taken.plugin}" already does`,
        {
          data: { plugin, slot },
          hint: "give one of them another name, and choose by slots in the configuration",
        },
      );
    }
    this.#providers.set(`${slot}:${name}`, { plugin, make });
  }

  namesOf(slot: SlotName): string[] {
    return [...this.#providers.keys()].filter((key) => key.startsWith(`${slot}:`)).map((key) => key.slice(slot.length + 1));
  }

  /** @throws NOT_FOUND listing what there is, PLUGIN_FAILED when the provider cannot be made. */
  async get<S extends SlotName>(slot: S, name: string): Promise<Slots[S]> {
    const provider = this.#providers.get(`${slot}:${name}`);
    if (!provider) {
      const known = this.namesOf(slot);
      throw new TapvisorError("NOT_FOUND", `Cannot use ${slot} "${name}": no plugin provides it, there is ${known.join(", ") || "none"}`, {
        data: { kind: slot, id: name, known },
        hint: "add the plugin that provides it to `plugins`",
      });
    }
    provider.made ??= this.#make(slot, provider);
    return provider.made as Promise<Slots[S]>;
  }

  /** The same for a plugin, which may be making one of its own for it. @throws PLUGIN_FAILED when that would wait for itself. */
  async use<S extends SlotName>(plugin: string, slot: S, name: string): Promise<Slots[S]> {
    const key = `${slot}:${name}`;
    const way = this.#wayTo(plugin, key, []);
    if (way) throw waitsForItself(slot, plugin, [...way, key]);
    const waits = this.#waits.get(plugin) ?? new Set();
    this.#waits.set(plugin, waits.add(key));
    try {
      return await this.get(slot, name);
    } finally {
      waits.delete(key);
    }
  }

  /** How a provider that is being made comes to wait for a plugin; `undefined` when it does not. */
  #wayTo(plugin: string, key: string, seen: readonly string[]): readonly string[] | undefined {
    const provider = this.#providers.get(key);
    if (!provider?.making || seen.includes(key)) return undefined;
    const way = [...seen, key];
    if (provider.plugin === plugin) return way;
    for (const next of this.#waits.get(provider.plugin) ?? []) {
      const found = this.#wayTo(plugin, next, way);
      if (found) return found;
    }
    return undefined;
  }

  async #make(slot: SlotName, provider: Provider): Promise<unknown> {
    provider.making = true;
    try {
      const made = await provider.make();
      if (typeof made === "object" && made !== null) return made;
      throw new Error(`made ${String(made)}`);
    } catch (error) {
      if (isTapvisorError(error)) throw error; // HOST_MISSING with its hint, say
      throw new TapvisorError("PLUGIN_FAILED", `Plugin "${provider.plugin}" cannot make its ${slot}: ${messageOf(error)}`, {
        data: { plugin: provider.plugin, slot },
        cause: error,
      });
    } finally {
      provider.making = false;
    }
  }
}

function waitsForItself(slot: SlotName, plugin: string, chain: readonly string[]): TapvisorError {
  return new TapvisorError("PLUGIN_FAILED", `Plugin "${plugin}" cannot make its ${slot}: it waits for itself, ${chain.join(" > ")}`, {
    data: { plugin, slot },
    hint: "name another provider in the options of the plugin that wraps it",
  });
}
