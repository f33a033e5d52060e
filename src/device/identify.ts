import { stat } from "node:fs/promises";
import { deviceNumbers } from "../base/device-numbers.ts";
import { TapvisorError } from "../base/errors.ts";

/**
 * Who a host's block device or image file is, whatever path leads to it.
 * @throws INVALID_INPUT naming the field when it is missing, or is neither of them.
 */
export async function identifyDevice(field: string, path: string): Promise<string> {
  const found = await stat(path, { bigint: true }).catch((error: NodeJS.ErrnoException) => error);
  const refuse = (why: string) => {
    const wanted = "an existing block device or image file of the host";
    return new TapvisorError("INVALID_INPUT", `Cannot use ${field} ${JSON.stringify(path)}: ${why}, wanted ${wanted}`, {
      data: { path: field, value: path, wanted },
    });
  };
  if (found instanceof Error) throw refuse(found.code === "ENOENT" ? "it does not exist" : found.message);
  if (found.isBlockDevice()) {
    const { major, minor } = deviceNumbers(found.rdev);
    return `b:${major}:${minor}`;
  }
  if (found.isFile()) return `f:${found.dev}:${found.ino}`;
  if (found.isDirectory()) throw refuse("it is a directory");
  if (found.isFIFO()) throw refuse("it is a named pipe");
  if (found.isSocket()) throw refuse("it is a socket");
  throw refuse("it is a character device");
}
