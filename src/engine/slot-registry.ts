import { isTapvisorError, messageOf, TapvisorError } from "../base/errors.ts";
import type { SlotName, Slots } from "../contracts/slots.ts";

interface Provider {
  readonly plugin: string;
  readonly make: () => unknown;
  made?: Promise<unknown>;
}

/** The providers of every slot, by name. Each is made once, when first used. */
export class SlotRegistry {
  readonly #providers = new Map<string, Provider>();

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

  async #make(slot: SlotName, provider: Provider): Promise<unknown> {
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
    }
  }
}
