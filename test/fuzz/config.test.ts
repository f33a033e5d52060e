import { config } from "./config.ts";
import { fuzzTests } from "./support/property.ts";

fuzzTests("config", config);
