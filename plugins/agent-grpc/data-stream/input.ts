import { type GuestInput, TapvisorError, withDeadline } from "tapvisor/plugin";
import { AcknowledgementReader } from "tapvisor/protocol";
import { wrong } from "../answers.ts";
import { DEADLINES } from "../limits.ts";
import type { OpenedStream } from "./open.ts";

/** Writes to a data stream; a write ends when the agent has acknowledged it. */
export function inputOver({ stream, subject, first, broken }: OpenedStream): GuestInput {
  const reader = new AcknowledgementReader();
  let sent = 0;
  let acknowledged = 0;
  let lie: TapvisorError | undefined;
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const look of [...waiting]) look();
  };
  const hear = (chunk: Buffer) => {
    const bytes = reader.push(chunk);
    if (bytes !== undefined && acknowledged + bytes <= sent) acknowledged += bytes;
    else {
      lie ??= wrong(`acknowledgement for ${subject}`, bytes ?? 0, `1 to ${sent - acknowledged} bytes`);
      stream.destroy();
    }
    wake();
  };
  if (first.length > 0) hear(first);
  stream.on("data", hear).on("end", wake).on("close", wake);

  /** Waits until `done`, the agent's end of the stream, or its break. */
  const until = (done: () => boolean, signal: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      const settle = (outcome: () => void) => {
        waiting.delete(look);
        signal.removeEventListener("abort", look);
        outcome();
      };
      const look = () => {
        if (done()) settle(resolve);
        else if (lie) settle(() => reject(lie));
        else if (stream.readableEnded) settle(() => reject(takesNoMore(subject)));
        else if (stream.destroyed) settle(() => reject(broken()));
        else if (signal.aborted) settle(() => reject(aborted(subject, signal)));
      };
      waiting.add(look);
      signal.addEventListener("abort", look, { once: true });
      look();
    });

  return {
    async write(data, signal) {
      sent += data.length;
      const all = sent;
      if (stream.writable) stream.write(data);
      await until(() => acknowledged >= all, signal);
    },
    async end(signal) {
      stream.end();
      const wait = { what: `${subject} to close`, timeoutMs: DEADLINES.CloseStdin, signal };
      await withDeadline(wait, (inner) => until(() => stream.readableEnded, inner));
    },
    close: () => void stream.destroy(),
  };
}

function takesNoMore(subject: string): TapvisorError {
  return new TapvisorError("AGENT_FAILED", `Cannot write to ${subject}: the process takes no more`, {
    data: { method: "WriteStdin", status: "FAILED_PRECONDITION" },
  });
}

function aborted(subject: string, signal: AbortSignal): TapvisorError {
  const what = `writing to ${subject}`;
  return new TapvisorError("ABORTED", `Cannot finish ${what}: the caller gave up`, { data: { what }, cause: signal.reason });
}
