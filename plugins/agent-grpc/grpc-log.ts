import { setLogger } from "@grpc/grpc-js";
import { guestText } from "./guest-text.ts";

let isSet = false;

/** grpc-js writes headers that it cannot read to standard error: text of the guest, on the user's terminal. From here on it is escaped. */
export function escapeGrpcLog(): void {
  if (isSet) return;
  isSet = true;
  const escaped =
    (write: (text: string) => void) =>
    (...parts: readonly unknown[]) =>
      write(guestText(parts.map(String).join(" ")));
  setLogger({
    error: escaped((text) => console.error(text)),
    info: escaped((text) => console.info(text)),
    debug: escaped((text) => console.debug(text)),
  });
}
