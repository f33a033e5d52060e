import { answers } from "./answers.ts";
import { fuzzTests } from "./support/property.ts";

fuzzTests("answers", answers);
