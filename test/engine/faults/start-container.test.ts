import { sweepFaults } from "../../support/fault-sweep.ts";

sweepFaults("faults in starting a container", ["run container", "start ready container"]);
