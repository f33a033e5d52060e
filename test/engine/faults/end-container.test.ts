import { sweepFaults } from "../../support/fault-sweep.ts";

sweepFaults("faults in pausing and ending a container", [
  "pause container",
  "resume container",
  "stop container",
  "stop container by force",
  "delete container",
]);
