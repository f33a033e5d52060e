import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { descriptorModule } from "../../../scripts/build-proto.ts";
import {
  agentServiceDefinition,
  filesServiceDefinition,
  guestServiceDefinition,
  healthServiceDefinition,
} from "../../../src/protocol/kata/index.ts";
import { suite } from "../../support/suite.ts";

const CALLS_OF_1_4 = `CreateContainer StartContainer RemoveContainer ExecProcess SignalProcess WaitProcess ListProcesses UpdateContainer
  StatsContainer PauseContainer ResumeContainer WriteStdin ReadStdout ReadStderr CloseStdin TtyWinResize AddInterface UpdateInterface
  RemoveInterface UpdateRoutes ListInterfaces ListRoutes CreateSandbox DestroySandbox OnlineCPUMem ReseedRandomDev GetGuestDetails`.split(
  /\s+/,
);

const LATER_CALLS = "AddARPNeighbors StartTracing StopTracing MemHotplugByProbe SetGuestDateTime CopyFile GetOOMEvent".split(" ");

const s = suite("kata descriptor");

s.test("descriptor.ts is what the .proto files say (npm run build:proto)", () => {
  const committed = readFileSync(new URL("../../../src/protocol/kata/descriptor.ts", import.meta.url), "utf8");
  assert.is(committed, descriptorModule());
});

s.test("the agent service has the 27 calls of Kata 1.4 and the 7 later ones, all unary, under /grpc.AgentService", () => {
  assert.equal(Object.keys(agentServiceDefinition).sort(), [...CALLS_OF_1_4, ...LATER_CALLS].sort());
  for (const [name, method] of Object.entries(agentServiceDefinition)) {
    assert.is(method.path, `/grpc.AgentService/${name}`);
    assert.not(method.requestStream || method.responseStream);
  }
});

s.test("the health service has Check and Version under /grpc.Health", () => {
  const paths = Object.values(healthServiceDefinition).map(({ path }) => path);
  assert.equal(paths, ["/grpc.Health/Check", "/grpc.Health/Version"]);
});

s.test("what Kata has no call for is a service of its own under /tapvisor.Guest", () => {
  const paths = Object.values(guestServiceDefinition).map(({ path }) => path);
  assert.equal(
    paths,
    ["SyncResources", "FindDisk", "ReleaseDisk", "DescribeProcesses", "OfferImage", "WithdrawImage", "PrepareToBeSaved"].map(
      (name) => `/tapvisor.Guest/${name}`,
    ),
  );
});

s.test("the files of containers are a service of their own under /tapvisor.Files", () => {
  const names = Object.values(filesServiceDefinition).map(({ path }) => path.split("/").slice(1));
  assert.ok(names.every(([service]) => service === "tapvisor.Files"));
  assert.is(names.length, 12);
});

s.test("every call of all services can encode and decode an empty request and response", () => {
  const services = [agentServiceDefinition, filesServiceDefinition, guestServiceDefinition, healthServiceDefinition];
  for (const method of services.flatMap((service) => Object.values(service))) {
    assert.is(method.requestSerialize({}).length, 0, method.path);
    assert.is(method.responseSerialize({}).length, 0, method.path);
    assert.type(method.requestDeserialize(Buffer.alloc(0)), "object");
    assert.type(method.responseDeserialize(Buffer.alloc(0)), "object");
  }
});

s.run();
