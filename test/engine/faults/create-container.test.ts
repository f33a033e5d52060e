import { sweepFaults } from "../../support/fault-sweep.ts";

sweepFaults("faults in creating a container", ["create container", "create container with two disks"]);
