import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import JSON5 from "json5";
import { z } from "zod";
import { messageOf, TapvisorError } from "../base/errors.ts";
import { printable } from "../base/printable.ts";
import { SLOT_NAMES, type SlotName } from "../contracts/slots.ts";
import { positionOf } from "./json5-position.ts";
import { type TemplatesOptions, templatesSchema } from "./templates-config.ts";
import { issueField, validate } from "./validate.ts";

/** The file that `createEngine` reads when it stands in the working directory. */
export const CONFIG_FILE = "tapvisor.config.json5";

/** What a configuration file holds. */
export interface EngineConfig {
  /** The combination of plugins to start from; `"qemu"` by default. */
  readonly preset?: string | undefined;
  /** The directory that everything the engine keeps on the host lives below. */
  readonly root?: string | undefined;
  /** Files (relative to the configuration file) or package names, each alone or with its options. */
  readonly plugins?: readonly (string | readonly [string, Record<string, unknown>])[] | undefined;
  /** Providers chosen by name, over those of the preset. */
  readonly slots?: Partial<Record<SlotName, string>> | undefined;
  /** Whether sandboxes go on from templates in place of booting, and where these are kept; `true` by default. */
  readonly templates?: boolean | TemplatesOptions | undefined;
}

const schema = z.strictObject({
  preset: z
    .string()
    .regex(/^[a-z][a-z0-9-]*$/, 'wanted a preset\'s name such as "qemu"')
    .optional(),
  root: z.string().min(1).optional(),
  plugins: z
    .array(
      z.union(
        [z.string(), z.tuple([z.string(), z.record(z.string(), z.unknown())])],
        'wanted "./file.ts", "package", or ["package", { options }]',
      ),
    )
    .optional(),
  slots: z.partialRecord(z.enum(SLOT_NAMES), z.string()).optional(),
  templates: templatesSchema.optional(),
}) as z.ZodType<EngineConfig>;

export interface LoadedConfig {
  readonly config: EngineConfig;
  /** Relative files of the configuration are relative to this directory. */
  readonly directory: string;
}

/**
 * The configuration: an object as it is, a file by its path, or the working directory's own file when there is one.
 * @throws INVALID_CONFIG with file, line and column; INVALID_INPUT for a bad field of an object.
 */
export async function loadConfig(given: string | EngineConfig | undefined): Promise<LoadedConfig> {
  if (typeof given === "object") return { config: validate(schema, given, "config"), directory: process.cwd() };
  const file = resolve(given ?? CONFIG_FILE);
  if (given === undefined && !existsSync(file)) return { config: {}, directory: process.cwd() };
  const { root, templates, ...config } = parseConfig(file, await read(file));
  const directory = dirname(file);
  const relative = (path: string) => join(resolve(directory, path));
  const placed = typeof templates === "object" && templates.directory !== undefined;
  return {
    config: {
      ...config,
      ...(root === undefined ? {} : { root: relative(root) }),
      ...(templates === undefined
        ? {}
        : { templates: placed ? { ...templates, directory: relative(templates.directory ?? "") } : templates }),
    },
    directory,
  };
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new TapvisorError("INVALID_CONFIG", `Cannot read the configuration "${file}": ${messageOf(error)}`, {
      data: { file },
      cause: error,
    });
  }
}

/** A configuration file's text, checked. @throws INVALID_CONFIG with line and column. */
export function parseConfig(file: string, text: string): EngineConfig {
  const value = parseJson5(file, text);
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issueField(issue);
  const { line, column } = positionOf(text, path.split("."));
  throw new TapvisorError(
    "INVALID_CONFIG",
    `Cannot use ${printable(path) || "the configuration"} in "${file}" at ${line}:${column}: ${printable(issue?.message ?? "invalid")}`,
    {
      data: { file, path, line, column },
    },
  );
}

function parseJson5(file: string, text: string): unknown {
  try {
    return JSON5.parse(text);
  } catch (error) {
    const { lineNumber: line, columnNumber } = error as { lineNumber?: number; columnNumber?: number };
    const column = columnNumber === undefined ? undefined : Math.max(1, columnNumber); // 0 is how JSON5 counts the newline that ends the line before
    const at = line === undefined || column === undefined ? {} : { line, column };
    throw new TapvisorError(
      "INVALID_CONFIG",
      `Cannot read "${file}" as JSON5 at ${line}:${column}: ${printable(messageOf(error).replace(/^JSON5: /, ""))}`,
      {
        data: { file, ...at },
        cause: error,
      },
    );
  }
}
