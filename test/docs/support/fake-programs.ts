import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { definePlugin } from "tapvisor/plugin";
import { type FakeProgram, type FakeWorld, sharedFakeWorld } from "tapvisor/testing";

/** What the shell scripts of the documentation and the examples print in a guest that is not there, command by command. */
const shell: FakeProgram = async ({ args, stdin, write, writeErr }) => {
  let colour = "";
  if (args.length === 1) for await (const _ of stdin) return 0; // one that is typed into, and told to exit
  for (const command of (args[2] ?? "").split(";").map((each) => each.trim())) {
    if (/^uname -[ar]$/.test(command)) await write("Linux of the fake world\n");
    else if (command === "cat /data/greeting") await write(await readFile("data/greeting"));
    else if (command.endsWith(" > /colour")) colour = command.split(" ")[1] ?? "";
    else if (command === "cat /colour") await write(`${colour}\n`);
    else if (command === "ls / | wc -l") await write("8\n");
    else if (/^echo \w+$/.test(command)) await write(`${command.slice(5)}\n`);
    else if (/^echo \w+ >&2$/.test(command)) await writeErr(`${command.slice(5, -4)}\n`);
    else {
      await writeErr(`the fake shell of test/docs does not know: ${command}\n`);
      return 2;
    }
  }
  return 0;
};

/** Makes a fake world's containers find the programs that the documentation runs. */
export function addPrograms(world: FakeWorld): void {
  world.programs.sh = shell;
  world.programs.uname = async ({ write }) => write("Linux of the fake world\n").then(() => 0);
  world.programs.ls = async ({ write }) => write("sh\n").then(() => 0);
  world.programs.sha256sum = async ({ stdin, write }) => {
    const hash = createHash("sha256");
    for await (const chunk of stdin) hash.update(chunk);
    await write(`${hash.digest("hex")}  -\n`);
    return 0;
  };
}

/** The same for a script's process, by its configuration. */
export default definePlugin("fake-programs", () => addPrograms(sharedFakeWorld()));
