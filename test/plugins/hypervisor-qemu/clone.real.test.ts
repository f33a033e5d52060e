import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { type ClonedVm, savedTemplate } from "./support/cloned-vms.ts";
import { clockOffset, lookInGuest } from "./support/look-in-guest.ts";

const s = suite("hypervisor-qemu clones of the real guest");

const CLONES = 12;
/** As many as there are processors on a small machine. */
const AT_ONCE = 2;

s.test("clones of one template are machines of their own, and its warm-up leaves nothing in it", body, { timeoutMs: 300_000 });

async function body(): Promise<void> {
  const seen: Record<"before" | "after", readonly string[]> = { before: [], after: [] };
  const looked = await savedTemplate({
    look: async (client, when) => {
      if (when === "before") await lookInGuest(client); // the first one makes directories that stay
      const { lines } = await lookInGuest(client);
      seen[when] = lines.filter((line) => !/^(random|boot) /.test(line));
    },
  });
  await looked[Symbol.asyncDispose]();
  assert.ok(seen.before.length > 10, "the look shows something");
  assert.equal(seen.after, seen.before);

  await using template = await savedTemplate();
  const found: { readonly machine: string; readonly boot: string; readonly random: string }[] = [];
  const look = async (clone: ClonedVm, name: string) => {
    const offset = await clockOffset(clone.client);
    const guest = await lookInGuest(clone.client);
    console.log(
      `${name}: answered after ${Math.round(clone.tookMs.renewed)} ms, clock ${offset.ms.toFixed(1)} ± ${offset.plusMinusMs.toFixed(1)} ms, said at most ${clone.renewed.clockErrorMs.toFixed(1)} ms off`,
    );
    assert.is(guest.of("host"), name);
    assert.is(guest.of("machine"), clone.identity.machineId);
    assert.ok(clone.renewed.clockErrorMs < 100, `${clone.renewed.clockErrorMs} ms`);
    assert.ok(Math.abs(offset.ms) - offset.plusMinusMs < 100, `the clock is ${offset.ms} ± ${offset.plusMinusMs} ms off`);
    found.push({ machine: guest.of("machine"), boot: guest.of("boot"), random: guest.of("random") });
  };
  for (let index = 0; index < CLONES; index += AT_ONCE) {
    const names = Array.from({ length: AT_ONCE }, (_, at) => `clone-${index + at}`);
    await Promise.all(
      names.map(async (name) => {
        await using clone = await template.clone(name);
        await look(clone, name);
      }),
    );
  }
  for (const what of ["machine", "boot", "random"] as const) {
    const values = new Set(found.map((each) => each[what]));
    assert.is(values.size, CLONES, `${what}: ${[...values].join(" ")}`);
    assert.ok(
      [...values].every((value) => value.length >= 32),
      `${what}: ${[...values].join(" ")}`,
    );
  }
}

s.run();
