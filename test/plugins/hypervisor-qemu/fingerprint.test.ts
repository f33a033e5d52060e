import { chmod, readFile, rename, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { suite } from "../../support/suite.ts";
import { tempDirectory } from "../../support/temp.ts";
import { refusal } from "./support/refusal.ts";
import { call, qemu } from "./support/world.ts";

const s = suite("hypervisor-qemu fingerprint");

type Fingerprint = Record<"version" | "accelerator" | "machine" | "cpuModel" | "commandLine" | "hostKernel", string> & {
  program: { path: string };
};
const of = async (options: Parameters<typeof qemu>[0]) => (await (await qemu(options)).fingerprint?.(call())) as unknown as Fingerprint;

s.test("it names what QEMU says of itself, the machine, and what runs it", async () => {
  const found = await of({ accelerator: "tcg" });
  assert.match(found.version, /^QEMU emulator version \d+\.\d+/);
  assert.equal([found.accelerator, found.machine, found.cpuModel, found.hostKernel], ["tcg", "q35", "max", undefined]);
  assert.match(found.commandLine, /^[0-9a-f]{64}$/);
  assert.equal(JSON.parse(JSON.stringify(found)), found);
});

s.test("it differs where the machine does, and is otherwise the same each time", async () => {
  const [q35, again, pc] = [
    await of({ accelerator: "tcg" }),
    await of({ accelerator: "tcg" }),
    await of({ accelerator: "tcg", machine: "pc" }),
  ];
  assert.equal(again, q35);
  assert.is.not(pc.commandLine, q35.commandLine);
});

s.test("it is another one when the program is exchanged, also behind a link", async () => {
  await using temporary = await tempDirectory();
  const at = (name: string) => join(temporary.path, name);
  const program = async (name: string, version: string) => {
    await writeFile(at(name), `#!/bin/sh\necho 'QEMU emulator version ${version}'\necho more\n`);
    await chmod(at(name), 0o755);
  };
  await program("qemu-a", "7.2.1");
  await symlink(at("qemu-a"), at("qemu"));
  const options = { binary: at("qemu"), accelerator: "tcg" } as const;
  const first = await of(options);
  assert.equal([first.version, first.program.path], ["QEMU emulator version 7.2.1", at("qemu-a")]);
  await utimes(at("qemu-a"), new Date(0), new Date(0));
  assert.is.not(JSON.stringify((await of(options)).program), JSON.stringify(first.program));
  await program("qemu-b", "7.2.2");
  await rename(at("qemu-b"), at("qemu-a"));
  assert.is((await of(options)).version, "QEMU emulator version 7.2.2");
});

s.test("the program is run once, however often its fingerprint is asked for", async () => {
  await using temporary = await tempDirectory();
  const [binary, log] = [join(temporary.path, "qemu"), join(temporary.path, "runs")];
  await writeFile(binary, `#!/bin/sh\necho run >> ${log}\necho "QEMU emulator version 7.2.1"\n`);
  await chmod(binary, 0o755);
  const hypervisor = await qemu({ binary, accelerator: "tcg" });
  for (let time = 0; time < 50; time++) await hypervisor.fingerprint?.(call());
  assert.is(await readFile(log, "utf8"), "run\n");
});

s.test("a program that does not tell its version is HOST_MISSING, and is asked again", async () => {
  await using temporary = await tempDirectory();
  const binary = join(temporary.path, "qemu");
  await writeFile(binary, "#!/bin/sh\nexit 1\n");
  await chmod(binary, 0o755);
  const hypervisor = await qemu({ binary, accelerator: "tcg" });
  for (let time = 0; time < 2; time++) {
    assert.is((await refusal(hypervisor.fingerprint?.(call()) ?? Promise.resolve())).code, "HOST_MISSING");
  }
});

s.run();
