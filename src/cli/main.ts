#!/usr/bin/env node
import { runCli } from "./program.ts";

const exitCode = await runCli(process.argv.slice(2));
// The script of `run` may have set its own.
if (exitCode !== undefined) process.exitCode = exitCode;
