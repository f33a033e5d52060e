import assert from "node:assert/strict";
import type { GuestDisk } from "../../contracts/hypervisor.ts";
import type { CheckOn } from "../conformance/checks.ts";
import { failure, firedCall } from "../conformance/expect.ts";
import { quietCall } from "../quiet-call.ts";
import { refuses } from "./expect-status.ts";
import { type AgentFixture, type AgentWorld, withSandbox } from "./fixture.ts";

/** Where no fixture plugs a disk in. */
const NOWHERE: GuestDisk = { driver: "scsi", address: "255:255" };

/** How long a disk that never appears is waited for, ms. */
const WAIT_MS = 1_000;

/** The disks of the guest. */
export function diskChecks(check: CheckOn<AgentFixture>): void {
  const checkIn = (behaviour: string, body: (world: AgentWorld) => Promise<void>) =>
    check(behaviour, (fixture) => withSandbox(fixture, body));
  /** Only where the fixture plugs disks in. */
  const checkDisk = (behaviour: string, body: (world: AgentWorld, plug: NonNullable<AgentFixture["disk"]>) => Promise<void>) =>
    checkIn(behaviour, async (world) => {
      if (world.fixture.disk) await body(world, (id) => world.fixture.disk?.(id) ?? assert.fail());
    });
  const extras = ({ fixture }: AgentWorld) => fixture.extras ?? true;

  checkIn("a disk that is not there is let go of with success, and not found", async (world) => {
    const { client } = world;
    for (let time = 0; time < 2; time++) await client.releaseDisk(NOWHERE, quietCall());
    const finding = client.findDisk(NOWHERE, quietCall({ timeoutMs: WAIT_MS }));
    if (extras(world)) await failure("findDisk() of a disk that is not there", finding);
    else assert.equal(await finding, undefined);
  });

  checkIn("findDisk() and releaseDisk() with a signal that has fired fail", async ({ client, fixture }) => {
    if (!(fixture.extras ?? true)) return; // nothing is asked of a guest without such calls
    await failure("findDisk() with a fired signal", client.findDisk(NOWHERE, firedCall()));
    await failure("releaseDisk() with a fired signal", client.releaseDisk(NOWHERE, firedCall()));
  });

  checkDisk("a disk is found, with its size, and let go of", async (world, plug) => {
    const { client } = world;
    const [first, second] = [await plug("first"), await plug("second")];
    const nodes = [];
    for (const { disk, bytes } of [first, second]) {
      const found = await client.findDisk(disk, quietCall());
      if (!extras(world)) {
        assert.equal(found, undefined, "findDisk() is undefined for a guest without such a call");
        continue;
      }
      assert.match(found?.node ?? "", /^\/dev\/[\w/-]+$/);
      assert.equal(found?.bytes, bytes);
      nodes.push(found?.node);
    }
    assert.equal(new Set(nodes).size, nodes.length, "two disks are one");
    for (const { disk } of [first, second]) await client.releaseDisk(disk, quietCall());
  });

  checkDisk("a disk that a container has is in use, until the container is removed", async (world, plug) => {
    const { client, fixture } = world;
    const { disk } = await plug("data");
    const request = await fixture.container("web", ["sleep", "60"]);
    const devices = [{ disk, containerPath: "/dev/data", permissions: "rwm" }];
    await client.createContainer({ ...request, devices }, quietCall());
    const releasing = () => client.releaseDisk(disk, quietCall());
    if (extras(world)) await refuses("releaseDisk() of a disk in use", releasing(), "FAILED_PRECONDITION");
    await client.startContainer("web", quietCall());
    if (extras(world)) await refuses("releaseDisk() of a disk in use", releasing(), "FAILED_PRECONDITION");
    await client.removeContainer("web", quietCall());
    await releasing();
  });

  checkIn("a container with a disk that is not there is refused, and not kept", async ({ client, fixture }) => {
    const request = await fixture.container("web", ["true"]);
    const devices = [{ disk: NOWHERE, containerPath: "/dev/data", permissions: "r" }];
    await failure("createContainer() without its disk", client.createContainer({ ...request, devices }, quietCall({ timeoutMs: WAIT_MS })));
    await client.removeContainer("web", quietCall());
    await client.createContainer(request, quietCall());
    await client.startContainer("web", quietCall());
    assert.equal(await client.waitProcess({ container: "web", exec: "web" }, quietCall()), 0);
  });
}
