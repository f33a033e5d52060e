import { oci } from "./oci.ts";
import { fuzzTests } from "./support/property.ts";

fuzzTests("oci", oci);
