import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Hypervisor, ShareEntry, ShareIntent, VmGrant, VmIntent } from "../../contracts/hypervisor.ts";
import type { CheckOn } from "../conformance/checks.ts";
import { assertRecordable, failure, firedCall } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { connected, type HypervisorFixture, withVm } from "./fixture.ts";

interface World {
  readonly fixture: HypervisorFixture;
  readonly share: NonNullable<Hypervisor["holdings"]["share"]>;
  readonly intent: VmIntent;
  readonly grant: VmGrant;
  /** What the VM alone holds. */
  readonly bare: unknown;
  shareIntent(id: string, entry?: Partial<ShareEntry>): ShareIntent;
}

/** Directories plugged into a running VM; nothing to check, but the capability, for a hypervisor without. */
export function shareChecks(check: CheckOn<HypervisorFixture>): void {
  const checkShare = (behaviour: string, body: (world: World) => Promise<void>) =>
    check(behaviour, async (fixture) => {
      const { share } = fixture.hypervisor.holdings;
      if (share) await withVm(fixture, async ({ intent, grant }) => body(await worldOf(fixture, share, intent, grant)));
    });

  check("the capability to share says whether there is a holding for it", async ({ hypervisor }) => {
    assert.equal(hypervisor.holdings.share !== undefined, hypervisor.capabilities.shareHotplug);
  });

  checkShare("a share is granted as data that says how to mount it, and given back twice", async (world) => {
    const { share, fixture } = world;
    const files = await readdir(fixture.directory);
    const intent = world.shareIntent("files");
    const grant = await share.acquire(intent, quietCall());
    assertRecordable("a share's grant", grant);
    assert.notDeepEqual(await fixture.snapshot(), world.bare, "the fixture's snapshot does not show a share that is held");
    for (const word of [grant.id, grant.guest.fstype, grant.guest.source, grant.guest.driver]) assert.notEqual(word, "");
    for (let time = 0; time < 2; time++) await share.release({ intent, grant }, quietCall());
    await onlyTheVmIsHeld(world);
    assert.deepEqual(await readdir(fixture.directory), files, "the shared directory has changed");
  });

  checkShare("a share is given back by its intent alone, and when it never was", async (world) => {
    const intent = world.shareIntent("files");
    await world.share.release({ intent, grant: undefined }, quietCall());
    await world.share.acquire(intent, quietCall());
    await world.share.release(JSON.parse(JSON.stringify({ intent })), quietCall());
    await onlyTheVmIsHeld(world);
  });

  checkShare("a share can be plugged again under the same id", async (world) => {
    for (let time = 0; time < 2; time++) {
      const intent = world.shareIntent("files");
      const grant = await world.share.acquire(intent, quietCall());
      await world.share.release({ intent, grant }, quietCall());
    }
    await onlyTheVmIsHeld(world);
  });

  checkShare("several shares are given back in any order", async (world) => {
    const intents = ["a", "b", "c"].map((id) => world.shareIntent(id));
    const held = [];
    for (const intent of intents) held.push({ intent, grant: await world.share.acquire(intent, quietCall()) });
    for (const index of [1, 0, 2]) {
      const each = held[index];
      if (each) await world.share.release(each, quietCall());
    }
    await onlyTheVmIsHeld(world);
  });

  checkShare("a second share of an id is refused, and its release leaves nothing", async (world) => {
    const intent = world.shareIntent("files");
    await world.share.acquire(intent, quietCall());
    await failure("acquire() of a taken id", world.share.acquire(intent, quietCall()));
    await world.share.release({ intent, grant: undefined }, quietCall());
    await onlyTheVmIsHeld(world);
  });

  for (const [what, entry] of Object.entries({
    "a source that does not exist": { source: "/nonexistent/source" },
    "a directory where a file was named": { type: "file" },
    "a name that leads out of the share": { name: "../files" },
  } as const)) {
    checkShare(`${what} is refused and leaves nothing`, async (world) => {
      await failure(`acquire() with ${what}`, world.share.acquire(world.shareIntent("files", entry), quietCall()));
      await onlyTheVmIsHeld(world);
    });
  }

  checkShare("acquire() with a signal that has fired fails and leaves nothing", async (world) => {
    await failure("acquire() with a fired signal", world.share.acquire(world.shareIntent("files"), firedCall()));
    await onlyTheVmIsHeld(world);
  });

  checkShare("acquire() for a dead VM fails and leaves nothing of the share", async (world) => {
    await world.fixture.kill(world.grant);
    const intent = world.shareIntent("files");
    await failure("acquire() for a dead VM", world.share.acquire(intent, quietCall()));
    await world.share.release({ intent, grant: undefined }, quietCall());
  });

  for (const known of ["with", "without"]) {
    checkShare(`a share of a VM that has died is given back, ${known} its grant`, async ({ share, fixture, grant: vm, ...world }) => {
      const intent = world.shareIntent("files");
      const grant = await share.acquire(intent, quietCall());
      await fixture.kill(vm);
      await share.release({ intent, grant: known === "with" ? grant : undefined }, quietCall());
    });
  }

  checkShare("a share is given back after the VM itself was", async ({ share, fixture, intent: vmIntent, ...world }) => {
    const intent = world.shareIntent("files");
    const grant = await share.acquire(intent, quietCall());
    await fixture.hypervisor.holdings.vm.release({ intent: vmIntent, grant: undefined }, quietCall());
    await share.release({ intent, grant }, quietCall());
  });

  checkShare("a guest that does not answer holds a share's release up no longer than its deadline", async (world) => {
    const { share, fixture, grant: vm } = world;
    if (!fixture.hypervisor.capabilities.pause) return;
    const intent = world.shareIntent("files");
    const grant = await share.acquire(intent, quietCall());
    await connected(fixture, vm, (view) => view.pause(quietCall()));
    await Promise.allSettled([share.release({ intent, grant }, quietCall({ timeoutMs: 1_000 }))]); // it may fail: the VM's release cures it
    await fixture.hypervisor.holdings.vm.release({ intent: world.intent, grant: vm }, quietCall());
    await share.release({ intent, grant }, quietCall());
  });
}

async function worldOf(fixture: HypervisorFixture, share: World["share"], intent: VmIntent, grant: VmGrant): Promise<World> {
  return {
    fixture,
    share,
    intent,
    grant,
    bare: await fixture.snapshot(),
    shareIntent: (id, entry) => ({
      sandbox: grant.sandbox,
      vm: grant,
      id,
      directory: join(grant.runDirectory, `share-${id}`),
      entries: [{ name: "files", source: fixture.directory, type: "directory", readonly: true, ...entry }],
    }),
  };
}

async function onlyTheVmIsHeld({ fixture, bare }: World): Promise<void> {
  assert.deepEqual(await fixture.snapshot(), bare, "something of the share is left");
}
