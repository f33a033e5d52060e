import { fuzzTests } from "./support/property.ts";
import { yamux } from "./yamux.ts";

fuzzTests("yamux", yamux);
