import { sweepFaults } from "../../support/fault-sweep.ts";

sweepFaults("faults in starting a stopped container", ["start stopped container"]);
