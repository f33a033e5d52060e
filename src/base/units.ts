/** A number of bytes: always a safe, non-negative integer. */
export type Bytes = number & { readonly __unit: "Bytes" };

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

const FACTORS: Readonly<Record<string, number>> = { B: 1, KiB, MiB, GiB, TiB: 1024 * GiB };
const SIZE = /^(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB)$/;

export const SIZE_FORM = 'a size with its unit such as "512MiB" or "1.5GiB", or a whole number of bytes';

/**
 * The bytes a size names: `"512MiB"`, `"1.5GiB"`, or a number of bytes. A fraction of a byte is refused, and so is text without a unit.
 * Returns `undefined` when the value is no size; the caller knows the field and reports it.
 *
 * @example
 * parseBytes("1.5GiB") // 1610612736
 * parseBytes("512") // undefined: megabytes or bytes?
 */
export function parseBytes(value: unknown): Bytes | undefined {
  const bytes = typeof value === "number" ? value : typeof value === "string" ? fromText(value) : Number.NaN;
  return Number.isSafeInteger(bytes) && bytes >= 0 ? (bytes as Bytes) : undefined;
}

function fromText(text: string): number {
  const [, amount, unit] = SIZE.exec(text.trim()) ?? [];
  return amount === undefined || unit === undefined ? Number.NaN : Number(amount) * (FACTORS[unit] ?? Number.NaN);
}

/** The shortest exact text of a size: `"512MiB"`, `"1.5GiB"`, `"1000B"`. */
export function formatBytes(bytes: number): string {
  for (const unit of ["TiB", "GiB", "MiB", "KiB"]) {
    const amount = bytes / (FACTORS[unit] as number);
    if (amount >= 1 && Number.isInteger(amount * 100)) return `${amount}${unit}`;
  }
  return `${bytes}B`;
}

/** Whole MiB that hold `bytes`, rounded up. Division, never a shift: `(4 * 2**30) >> 20` is 0 in JavaScript. */
export function toMiBCeil(bytes: number): number {
  return Math.ceil(bytes / MiB);
}

/** `bytes` rounded up to a multiple of `step`. */
export function alignUp(bytes: number, step: number): Bytes {
  return (Math.ceil(bytes / step) * step) as Bytes;
}
