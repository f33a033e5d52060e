// An inline plugin: it refuses to share a directory of the host that is not below this one, and tells what the rollback gave back.
import { createEngine, definePlugin, isTapvisorError } from "tapvisor";

const here = import.meta.dirname;
const onlyHere = definePlugin("only-here", (ctx) => {
  ctx.hooks.beforeHotplug.tapPromise(async (event) => {
    if (event.kind !== "share" || event.action !== "plug") return;
    const stranger = event.request.entries.find(({ source }) => !source.startsWith(`${here}/`));
    if (stranger) throw new Error(`${stranger.source} is not for containers`);
  });
  ctx.hooks.onRollback.tapPromise(async ({ step, outcome }) => console.log(`${outcome}: ${step}`));
});

await using engine = await createEngine({ plugins: [onlyHere()] });
await using sandbox = await engine.runSandbox();
try {
  await sandbox.run({ rootfs: `${here}/rootfs`, command: ["cat", "/host/passwd"], mounts: [{ source: "/etc", target: "/host" }] });
} catch (error) {
  if (!isTapvisorError(error)) throw error;
  console.log(`${error.code}: ${error.message}`);
}
const allowed = await sandbox.run({ rootfs: `${here}/rootfs`, command: ["echo", "still here"] });
console.log((await allowed.stdout.text()).trim());
