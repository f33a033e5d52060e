import { guest } from "./guest.ts";
import { fuzzTests } from "./support/property.ts";

fuzzTests("guest agent", guest);
