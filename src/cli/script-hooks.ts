import module from "node:module";
import { register } from "tsx/esm/api";
import type { OwnPackage } from "./own-modules.ts";
import * as resolver from "./script-resolver.ts";

/** `module.registerHooks` of newer Node versions; the types of Node 20 do not have it. */
type RegisterHooks = (hooks: { resolve: typeof resolver.resolve }) => unknown;

/**
 * From here on this process can import TypeScript from anywhere, and this package's names mean the running copy, also where
 * nothing is installed. Ours is registered after tsx: the last hook is asked first.
 */
export function registerScriptHooks(own: OwnPackage): void {
  const fromSource = import.meta.url.endsWith(".ts"); // then tsx runs already, or this line would not
  if (!fromSource) register({ tsconfig: false });
  const data: resolver.ResolverData = { modules: own.modules };
  const registerHooks = (module as { registerHooks?: RegisterHooks }).registerHooks;
  if (registerHooks) {
    resolver.initialize(data);
    registerHooks({ resolve: resolver.resolve });
  } else {
    module.register(new URL(fromSource ? "./script-resolver.ts" : "./script-resolver.js", import.meta.url), { data });
  }
}
