import { printable } from "../base/printable.ts";

/** Data for another program, on stdout. */
export function writeJson(value: unknown): void {
  const text = JSON.stringify(value, null, 2);
  // JSON leaves DEL, C1 controls and bidirectional marks as they are; inside its strings an escape says the same.
  write(text.split("\n").map(printable));
}

/** Lines for a person, on stdout; what could steer the terminal is shown instead of sent. */
export function writeLines(lines: readonly string[]): void {
  write(lines.map(printable));
}

/** Rows in columns as wide as their widest cell, two spaces between them; the last one ragged. Cells are made printable first. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const safe = rows.map((row) => row.map(printable));
  const width = (column: number) => Math.max(0, ...safe.map((row) => row[column]?.length ?? 0));
  const widths = (safe[0] ?? []).map((_, column) => width(column));
  return safe.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

function write(lines: readonly string[]): void {
  if (lines.length > 0) process.stdout.write(`${lines.join("\n")}\n`);
}
