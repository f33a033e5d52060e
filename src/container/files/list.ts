import { TapvisorError } from "../../base/errors.ts";
import type { FileEntry } from "../../contracts/agent-files.ts";
import type { FileAccess } from "./access.ts";

const PAGE_ENTRIES = 1000;
/** As many as our guest lists; another may have more of them than this process has memory for. */
const MOST_ENTRIES = 200_000;

/** A directory's entries in pages, sorted by name. @throws GUEST_PROTOCOL when there is no end of them. */
export async function* pagesOf(
  access: FileAccess,
  path: string,
  signal: AbortSignal | undefined,
  base?: string,
): AsyncGenerator<readonly FileEntry[], void, undefined> {
  const place = access.place(path, base);
  let after = "";
  let count = 0;
  for (;;) {
    const page = await access.ask({ what: `the listing of ${JSON.stringify(path)}`, signal }, (files, call) =>
      files.list(place, { after, limit: PAGE_ENTRIES }, call),
    );
    yield page.entries;
    count += page.entries.length;
    if (count > MOST_ENTRIES) {
      throw new TapvisorError("GUEST_PROTOCOL", `Cannot list ${JSON.stringify(path)}: it has more than ${MOST_ENTRIES} entries`, {
        data: { what: "listing" },
      });
    }
    const last = page.entries.at(-1);
    if (!page.more || !last) return;
    after = last.name;
  }
}
