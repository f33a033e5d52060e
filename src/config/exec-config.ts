import { z } from "zod";
import { guestPath } from "./mounts-config.ts";
import { argvSchema, type TtySize, ttySizeSchema, type UserConfig, type UserOptions, userSchema, wordSchema } from "./process-config.ts";
import { validate } from "./validate.ts";

/** How a further process runs in a container: what is not named is as for the container's own. */
export interface ExecOptions {
  /** On top of the container's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly user?: UserOptions;
  /** Gives it a terminal of its own: then `stdout` has all it prints, `stderr` nothing. */
  readonly tty?: boolean;
  /** 24 rows of 80 columns by default. */
  readonly ttySize?: TtySize;
  /** Written to its standard input, which is then closed. */
  readonly input?: string | Uint8Array;
  /** Kills it, with SIGKILL, when it has not ended by then, ms from the call; no deadline by default. */
  readonly timeoutMs?: number;
  /** Kills it, with SIGKILL. */
  readonly signal?: AbortSignal;
}

/** A validated request for a further process. */
export interface ExecConfig extends Omit<ExecOptions, "user" | "input" | "signal"> {
  readonly argv: readonly string[];
  readonly user?: UserConfig;
  readonly tty: boolean;
  readonly input?: Uint8Array;
}

const schema = z
  .strictObject({
    argv: argvSchema('["ls", "-l"]'),
    env: z.record(z.string().regex(/^[^=\0]+$/, 'wanted a name without "="'), wordSchema).optional(),
    cwd: guestPath.optional(),
    user: userSchema.optional(),
    tty: z.boolean("wanted true or false").default(false),
    ttySize: ttySizeSchema.optional(),
    input: z
      .union([z.string(), z.instanceof(Uint8Array)], "wanted text or bytes")
      .transform((input) => (typeof input === "string" ? Buffer.from(input) : input))
      .optional(),
    timeoutMs: z
      .number("wanted milliseconds")
      .min(1, "wanted at least 1")
      .max(2 ** 31 - 1, "wanted at most 2147483647")
      .optional(),
    signal: z.instanceof(AbortSignal, { message: "wanted an AbortSignal" }).optional(),
  })
  .refine(({ tty, ttySize }) => tty || ttySize === undefined, { message: "wanted tty: true with it", path: ["ttySize"] });

/** @throws INVALID_INPUT naming the field and its value. */
export function execConfig(argv: unknown, options: unknown): ExecConfig {
  const given = validate(z.looseObject({}, "wanted an object of options"), options, "exec options");
  const { signal: _, ...config } = validate(schema, { ...given, argv }, "exec");
  return config as ExecConfig;
}

/** @throws INVALID_INPUT naming the field and its value. */
export function ttySizeConfig(size: unknown): TtySize {
  return validate(ttySizeSchema, size, "ttySize");
}
