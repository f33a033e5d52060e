/** Started as a process of its own: acquires what the JSON argument says, prints the grants as one line, and waits unless told to leave. */
import type { VmIntent } from "tapvisor/plugin";
import { call, qemu, shareIntent, shares } from "./world.ts";

const { intent, directory, share, leave, user } = JSON.parse(process.argv[2] ?? "{}") as {
  intent: VmIntent;
  directory: string;
  share: boolean;
  leave: boolean;
  user?: string;
};
const hypervisor = await qemu({ accelerator: "tcg", ...(user !== undefined && { user }) });
const vm = await hypervisor.holdings.vm.acquire(intent, call());
const plugged = share ? await shares(hypervisor).acquire(await shareIntent(directory, vm), call()) : undefined;
console.log(JSON.stringify({ vm, share: plugged }));
if (leave) await (await hypervisor.connect(vm, call())).disconnect();
else setInterval(() => {}, 60_000);
