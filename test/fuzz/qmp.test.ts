import { qmp } from "./qmp.ts";
import { fuzzTests } from "./support/property.ts";

fuzzTests("qmp", qmp);
