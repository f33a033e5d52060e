/**
 * Guests of a few bytes: QEMU boots a file without the Linux header as an old kernel, and runs what stands at offset 512 in 16-bit mode.
 * Each ends with what it does for ever.
 */
const SETUP_SECTORS_AT = 0x1f1;
const CODE_AT = 0x200;
const KERNEL_BYTES = 16 * 1024;

const COM1 = [0xba, 0xf8, 0x03]; // mov dx, 0x3f8
const HALT = [0xfa, 0xf4, 0xeb, 0xfd]; // cli; hlt; jmp to the hlt
const RESET = [0xb0, 0xfe, 0xe6, 0x64, ...HALT]; // the keyboard controller's reset line

/** Prints on the console, then halts. */
export function haltingKernel(text = "READY\n"): Uint8Array {
  return kernel([...print(text), ...HALT]);
}

/** Prints on the console, counts for some tenths of a second so that somebody can connect meanwhile, then resets the machine. */
export function resettingKernel(text: string): Uint8Array {
  const count = [0x66, 0xb9, 0x00, 0x00, 0x00, 0x10, 0x67, 0xe2, 0xfd]; // mov ecx, 2^28; loop
  return kernel([...print(text), ...count, ...RESET]);
}

/** Prints `A` on the console without end. */
export function floodingKernel(): Uint8Array {
  return kernel([...COM1, 0xb0, 0x41, 0xee, 0xeb, 0xfd]);
}

/** Counts in its memory, and prints the letter of each number, A to P over and over, about one a millisecond. */
export function countingKernel(): Uint8Array {
  const loop = [
    ...[0xfe, 0x06, 0x00, 0x20, 0xa0, 0x00, 0x20], // inc byte [0x2000]; mov al, [0x2000]
    ...[0x24, 0x0f, 0x04, 0x41, ...COM1, 0xee], // and al, 15; add al, "A"; out
    ...[0x66, 0xb9, 0x40, 0x0d, 0x03, 0x00, 0x67, 0xe2, 0xfd], // mov ecx, 200000; loop
    ...[0xeb, 0xe6],
  ];
  return kernel(loop);
}

/** Agrees to every unplug request, as a guest's ACPI driver does: reads which slots are asked for from each bus, and ejects them. */
export function unpluggingKernel(): Uint8Array {
  const loop = [
    ...[0x31, 0xdb], // xor bx, bx: the bus
    ...[0x66, 0x0f, 0xb7, 0xc3, 0xba, 0xd0, 0x0c, 0x66, 0xef], // 0xcd0 <- bus
    ...[0xba, 0xc4, 0x0c, 0x66, 0xed, 0x66, 0x85, 0xc0, 0x74, 0x05], // eax <- 0xcc4, the slots; none: over the next line
    ...[0xba, 0xc8, 0x0c, 0x66, 0xef], // 0xcc8 <- slots: eject
    ...[0x43, 0x83, 0xfb, 0x10, 0x72, 0xe2], // the next of 16 buses
    ...[0xf3, 0x90], // pause: QEMU's other threads wait for the processor to leave its translated code, which a loop without it need not do
    ...[0xeb, 0xdc],
  ];
  return kernel([...print("READY\n"), ...loop]);
}

function print(text: string): number[] {
  return [...COM1, ...[...Buffer.from(text, "latin1")].flatMap((byte) => [0xb0, byte, 0xee])];
}

function kernel(code: readonly number[]): Uint8Array {
  const image = Buffer.alloc(KERNEL_BYTES);
  image[SETUP_SECTORS_AT] = 4;
  image.set(code, CODE_AT);
  return image;
}
