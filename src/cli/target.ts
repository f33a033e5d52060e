import type { Container } from "../container/container.ts";
import type { Engine } from "../engine/engine.ts";
import { CliError } from "./cli-error.ts";
import { EXIT } from "./exit-codes.ts";

/** The container that `<sandbox>/<container>` names, or `<sandbox>` when it has one alone. @throws NOT_FOUND, LOCKED when a live script has the sandbox. */
export async function openContainer(engine: Engine, target: string): Promise<Container> {
  const [sandboxId = "", containerId, ...rest] = target.split("/");
  if (rest.length > 0 || containerId === "")
    throw new CliError(EXIT.usage, `Cannot use "${target}": wanted <sandbox> or <sandbox>/<container>`);
  const sandbox = await engine.sandbox(sandboxId);
  if (containerId !== undefined) return sandbox.container(containerId);
  const containers = sandbox.containers();
  const [only] = containers;
  if (only && containers.length === 1) return only;
  const names = containers.map(({ id }) => `${sandboxId}/${id}`).join(", ");
  throw new CliError(EXIT.usage, `Cannot tell which container of "${sandboxId}" is meant: it has ${names || "none"}`);
}
