import { readFileSync } from "node:fs";
import fc from "fast-check";
import * as assert from "uvu/assert";
import { parseElf, readElf } from "../../../../plugins/guest-linux/image/elf.ts";
import { suite } from "../../../support/suite.ts";
import { elfWith } from "../fixtures.ts";

const s = suite("guest-linux elf");

s.test("section() gives the bytes of a named section and undefined for another", () => {
  const elf = parseElf(elfWith(".modinfo", "depends=a\0"));
  assert.is(elf?.section(".modinfo")?.toString("latin1"), "depends=a\0");
  assert.is(elf?.section(".text"), undefined);
});

s.test("a program with a loader is dynamic, this machine's node say", async () => {
  assert.is((await readElf(process.execPath))?.dynamic, true);
  assert.is(parseElf(elfWith(".modinfo", ""))?.dynamic, false);
});

s.test("what is no 64-bit ELF file is undefined", () => {
  assert.is(parseElf(Buffer.alloc(0)), undefined);
  assert.is(parseElf(Buffer.from("#!/bin/sh\n".repeat(20))), undefined);
  const thirtyTwoBit = elfWith("x", "y");
  thirtyTwoBit[4] = 1;
  assert.is(parseElf(thirtyTwoBit), undefined);
});

s.test("a damaged or cut file never throws", () => {
  const program = readFileSync("/bin/sh").subarray(0, 4096);
  fc.assert(
    fc.property(fc.nat(4096), fc.array(fc.tuple(fc.nat(4095), fc.nat(255)), { maxLength: 20 }), (length, changes) => {
      const file = Buffer.from(program);
      for (const [at, value] of changes) if (at > 5) file[at] = value;
      const elf = parseElf(file.subarray(0, length));
      elf?.section(".modinfo");
    }),
  );
});

s.run();
