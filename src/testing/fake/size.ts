import { TapvisorError } from "../../base/errors.ts";
import { type Bytes, formatBytes } from "../../base/units.ts";
import type { Resized, VmIntent, VmSize } from "../../contracts/hypervisor.ts";

/** How far the guest of a VM goes along with a resize; a test narrows it. */
export interface GuestBounds {
  /** It keeps so much, whatever it is asked to give back. */
  least: number;
  /** It takes no more, whatever it is given. */
  most: number;
}

/** The vCPUs and the memory of a VM of the fake world. */
export class FakeSize implements VmSize {
  vcpus: number;
  memoryBytes: Bytes;
  readonly vcpuBounds: GuestBounds = { least: 0, most: Number.POSITIVE_INFINITY };
  readonly memoryBounds: GuestBounds = { least: 0, most: Number.POSITIVE_INFINITY };
  readonly #intent: VmIntent;

  constructor(intent: VmIntent) {
    this.#intent = intent;
    const { vcpus, memoryBytes } = intent.plugged?.size ?? intent;
    this.vcpus = vcpus;
    this.memoryBytes = memoryBytes;
  }

  /** With `keep`, vCPUs that are not wanted stay plugged: the guest parks them. @throws VM_LIMIT. */
  resizeVcpus(target: number, { keep }: { readonly keep: boolean }): Resized {
    const wanted = this.#inLimits("vcpus", target);
    this.vcpus = keep && wanted < this.vcpus ? this.vcpus : within(this.vcpuBounds, this.vcpus, wanted);
    if (keep && this.vcpus > target) return { reached: this.vcpus };
    return this.#resized("vcpus", this.vcpus, target);
  }

  /** @throws VM_LIMIT. */
  resizeMemory(target: number): Resized {
    this.memoryBytes = within(this.memoryBounds, this.memoryBytes, this.#inLimits("memoryBytes", target)) as Bytes;
    return this.#resized("memoryBytes", this.memoryBytes, target);
  }

  /** What a shrink has come to whose caller does not wait any longer. */
  shrunkSoFar(target: number): Resized {
    const reached = this.memoryBytes;
    return reached <= target ? { reached } : { reached, shortfall: "the guest had not given it back when the caller gave up" };
  }

  /** The target, or what the VM booted with when that is more. */
  #inLimits(what: keyof VmSize, target: number): number {
    const { sandbox, limits = this.#intent } = this.#intent;
    const [boot, limit] = [this.#intent[what], limits[what]];
    if (Number.isSafeInteger(target) && target > 0 && target <= limit) return Math.max(boot, target);
    const text = `it booted with ${amount(what, boot)} and may have ${amount(what, limit)}`;
    throw new TapvisorError("VM_LIMIT", `Cannot resize the VM of sandbox "${sandbox}" to ${amount(what, target)}: ${text}`, {
      data: { what: what === "vcpus" ? "vcpus" : "memory", wanted: target, available: limit },
    });
  }

  #resized(what: keyof VmSize, reached: number, target: number): Resized {
    if (reached === target) return { reached };
    const boot = this.#intent[what];
    if (reached === boot && target < boot) return { reached, shortfall: `the VM booted with ${amount(what, boot)}` };
    return { reached, shortfall: `the guest ${reached < target ? "takes" : "keeps"} ${amount(what, reached)}` };
  }
}

/** Where a guest with these bounds goes from `now` when it is asked for `wanted`: never away from it. */
function within({ least, most }: GuestBounds, now: number, wanted: number): number {
  return wanted < now ? Math.min(now, Math.max(wanted, least)) : Math.max(now, Math.min(wanted, most));
}

function amount(what: keyof VmSize, value: number): string {
  return what === "vcpus" ? `${value} vCPUs` : formatBytes(value);
}
