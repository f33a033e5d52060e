import { TapvisorError } from "../../base/errors.ts";
import type { GuestIdentity, RenewedIdentity } from "../../contracts/agent-identity.ts";

/** Who a guest was when its VM was saved. */
export interface SavedIdentity {
  readonly warmUps: number;
  readonly prepared: boolean;
  readonly given: readonly GuestIdentity[];
}

/** Who a guest of the fake world is, for tests to look at. */
export class FakeIdentity {
  /** How often it has been warmed up. */
  warmUps = 0;
  /** Whether it has been prepared to be saved, and nothing has renewed it since. */
  prepared = false;
  /** Each identity it was given, in order; the last one is its own. */
  readonly given: GuestIdentity[] = [];
  /** What a renewal says of the clock, ms. */
  clockErrorMs = 1;

  /** Nothing of it ever changes once it is given. */
  save(): SavedIdentity {
    const { warmUps, prepared, given } = this;
    return { warmUps, prepared, given: [...given] };
  }

  restore({ warmUps, prepared, given }: SavedIdentity): void {
    Object.assign(this, { warmUps, prepared });
    this.given.push(...given);
  }

  renew(identity: GuestIdentity): RenewedIdentity {
    const { entropy, machineId, hostname } = identity;
    want(entropy.length === 64, "entropy", `${entropy.length} bytes`, "64 bytes");
    want(/^[0-9a-f]{32}$/.test(machineId), "machineId", machineId, "32 lower-case hexadecimal digits");
    want(/^[\x21-\x7e]{1,64}$/.test(hostname), "hostname", hostname, "1 to 64 characters of ASCII without blanks");
    this.given.push({ entropy: Uint8Array.from(entropy), machineId, hostname });
    this.prepared = false;
    return { clockErrorMs: this.clockErrorMs };
  }
}

function want(holds: boolean, path: string, value: unknown, wanted: string): void {
  if (holds) return;
  throw new TapvisorError("INVALID_INPUT", `Cannot use ${path} ${JSON.stringify(value)}: wanted ${wanted}`, {
    data: { path, value, wanted },
  });
}
